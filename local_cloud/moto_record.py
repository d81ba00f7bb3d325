"""What moto's books say about one instance, and where the host writes down what becomes of it."""

import base64
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance, InstanceState, StateReason
from moto.sts.models import sts_backends

from local_cloud import ACCOUNT
from local_cloud.instance_host import USER_SHUTDOWN

CREDENTIALS_SECONDS = 6 * 3600
# boto3 begins to renew fifteen minutes before the end: have new ones by then.
RENEWED_BEFORE_SECONDS = 3600
STATE_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}

# moto's books are not made for threads: whoever reads or writes more than one value of them holds this.
books_lock = threading.RLock()
# Taken before the hooks replace it.
_release: Callable[[Instance], InstanceState] = Instance.terminate


class Ec2Record:
    """What moto's books say about one instance."""

    def __init__(self, instance: Any) -> None:
        self.moto_instance = instance
        self._released = False
        self._last_role: Any = None
        self._credentials: tuple[str, datetime, dict[str, str]] | None = None

    @property
    def id(self) -> str:
        return str(self.moto_instance.id)

    @property
    def image_id(self) -> str:
        return str(self.moto_instance.image_id)

    @property
    def user_data(self) -> bytes:
        return base64.b64decode(str(self.moto_instance.user_data)) if self.moto_instance.user_data else b""

    @property
    def memory_bytes(self) -> int:
        return int(INSTANCE_TYPES[self.moto_instance.instance_type]["MemoryInfo"]["SizeInMiB"]) << 20

    @property
    def end_state(self) -> str:
        return "terminated" if self.moto_instance.instance_initiated_shutdown_behavior == "terminate" else "stopped"

    def set_state(self, name: str, code: str = "", message: str = "") -> None:
        """`name` as EC2 spells it; `code` and `message` are the StateReason."""
        who = "User initiated" if code == USER_SHUTDOWN else code.partition(".")[2] or code
        self.moto_instance._reason = f"{who} ({datetime.now(UTC):%Y-%m-%d %H:%M:%S} GMT)" if code else ""
        self.moto_instance.state_reason = StateReason(message, code)
        self.moto_instance._state = InstanceState(name, STATE_CODES[name])

    def release(self) -> None:
        """Give back what a terminated instance held: volumes, addresses, its instance profile."""
        with books_lock:
            if self._released:
                return
            self._released = True
            self.role()
            kept = self.moto_instance._state, self.moto_instance._reason, self.moto_instance.state_reason
            _release(self.moto_instance)
            self.moto_instance._state, self.moto_instance._reason, self.moto_instance.state_reason = kept

    def metadata(self) -> Mapping[str, str]:
        """Plain entries below latest/meta-data/, by their path."""
        instance = self.moto_instance
        return {
            "ami-id": self.image_id,
            "ami-launch-index": str(instance.ami_launch_index),
            "hostname": instance.private_dns_name,
            "instance-id": self.id,
            "instance-life-cycle": instance.lifecycle or "on-demand",
            "instance-type": instance.instance_type,
            "local-hostname": instance.private_dns_name,
            "local-ipv4": instance.private_ip,
            "placement/availability-zone": instance.availability_zone,
            "placement/region": self._region,
            "reservation-id": self._reservation_id(),
        }

    def tags(self) -> Mapping[str, str]:
        with books_lock:
            return {tag["key"]: tag["value"] for tag in self.moto_instance.get_tags()}

    def role(self) -> Any:
        """moto's role of the instance's profile, or None. One that is ending keeps the role that it had."""
        with books_lock:
            association = self.moto_instance.ec2_backend.iam_instance_profile_associations.get(self.id)
            roles = association.iam_instance_profile.roles if association else []
            if roles or not self._released:
                self._last_role = roles[0] if roles else None
            return self._last_role

    def role_credentials(self) -> tuple[str, Mapping[str, str]] | None:
        """The role's name and its credentials document, renewed an hour before they expire; None without a role."""
        with books_lock:
            role = self.role()
            if role is None:
                return None
            now = datetime.now(UTC)
            if self._credentials is not None:
                name, expiry, document = self._credentials
                if name == role.name and (expiry - now).total_seconds() > RENEWED_BEFORE_SECONDS:
                    return name, document
            document = self._assume(role, now)
            expiry = datetime.strptime(document["Expiration"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
            self._credentials = (role.name, expiry, document)
            return role.name, document

    def identity_document(self) -> Mapping[str, Any]:
        instance = self.moto_instance
        return {
            "accountId": ACCOUNT,
            "architecture": instance.architecture,
            "availabilityZone": instance.availability_zone,
            "imageId": self.image_id,
            "instanceId": self.id,
            "instanceType": instance.instance_type,
            "pendingTime": f"{instance.launch_time:%Y-%m-%dT%H:%M:%SZ}",
            "privateIp": instance.private_ip,
            "region": self._region,
            "version": "2017-09-30",
        }

    @property
    def _region(self) -> str:
        return str(self.moto_instance.ec2_backend.region_name)

    def _reservation_id(self) -> str:
        with books_lock:
            reservations = self.moto_instance.ec2_backend.reservations.values()
            return next((str(found.id) for found in reservations if self.moto_instance in found.instances), "")

    def _assume(self, role: Any, now: datetime) -> dict[str, str]:
        assumed = sts_backends[ACCOUNT]["aws"].assume_role(
            region_name=self._region,
            role_session_name=self.id,
            role_arn=role.arn,
            policy="",
            duration=CREDENTIALS_SECONDS,
            external_id="",
        )
        return {
            "Code": "Success",
            "LastUpdated": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "Type": "AWS-HMAC",
            "AccessKeyId": assumed.access_key_id,
            "SecretAccessKey": assumed.secret_access_key,
            "Token": assumed.session_token,
            "Expiration": f"{assumed.expiration:%Y-%m-%dT%H:%M:%SZ}",
        }
