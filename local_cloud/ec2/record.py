"""The record of an instance in moto's books, as the instance host reads and writes it."""

import base64
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance, InstanceState, StateReason
from moto.sts.models import sts_backends

from local_cloud import ACCOUNT
from local_cloud.machines.instance_host import USER_SHUTDOWN

CREDENTIALS_SECONDS = 6 * 3600
# boto3 renews from fifteen minutes before the end: the new credentials must exist by then.
RENEWED_BEFORE_SECONDS = 3600
GROUP_TAG = "aws:autoscaling:groupName"
STATE_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}

# moto's books are not safe for threads: hold this to read or write more than one value.
books_lock = threading.RLock()
# Taken before the hooks replace it.
_release: Callable[[Instance], InstanceState] = Instance.terminate


@dataclass(frozen=True)
class LaunchDetails:
    """The parts of a launch that moto's books do not keep.

    spot_end_state: the state after an interruption; None for an on-demand instance.
    token, asked:   the client token and the parameters that came with it.
    """

    spot_end_state: str | None = None
    token: str | None = None
    asked: str = ""


def make_spot(instance: Any, request_id: str) -> None:
    """Make the books show a spot instance."""
    instance.lifecycle = instance.instance_lifecycle = "spot"
    instance.spot_instance_request_id = request_id


class Ec2Record:
    """What moto's books say about one instance.

    changed: called, without locks, after every change of state.
    """

    def __init__(self, instance: Any, launch: LaunchDetails, changed: Callable[[], None]) -> None:
        self.moto_instance = instance
        self.launch = launch
        self.ended_at: datetime | None = None
        self._changed = changed
        self._notices: dict[str, str] = {}
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
    def cpus(self) -> int:
        return int(INSTANCE_TYPES[self.moto_instance.instance_type]["VCpuInfo"]["DefaultVCpus"])

    @property
    def end_state(self) -> str:
        return "terminated" if self.moto_instance.instance_initiated_shutdown_behavior == "terminate" else "stopped"

    @property
    def end_state_with_host(self) -> str:
        """The state after the end of the host: as after a shutdown, but spot and group instances are terminated."""
        replaced = self.spot_end_state == "terminated" or GROUP_TAG in self.tags()
        return "terminated" if replaced else self.end_state

    @property
    def spot_end_state(self) -> str | None:
        return self.launch.spot_end_state

    @property
    def state(self) -> str:
        return str(self.moto_instance._state.name)

    def announce(self, path: str, document: Mapping[str, str]) -> None:
        """Show a notice below latest/meta-data/."""
        self._notices[path] = json.dumps(document)

    def set_state(self, name: str, code: str = "", message: str = "") -> None:
        """`name` as EC2 spells it; `code` and `message` are the StateReason."""
        if name == "terminated":
            self.ended_at = datetime.now(UTC)
        who = "User initiated" if code == USER_SHUTDOWN else code.partition(".")[2] or code
        self.moto_instance._reason = f"{who} ({datetime.now(UTC):%Y-%m-%d %H:%M:%S} GMT)" if code else ""
        self.moto_instance.state_reason = StateReason(message, code)
        self.moto_instance._state = InstanceState(name, STATE_CODES[name])
        self._changed()

    def release(self) -> None:
        """Release what a terminated instance held: volumes, addresses, its instance profile."""
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
            **self._notices,
            **self._network(),
            "ami-id": self.image_id,
            "ami-launch-index": str(instance.ami_launch_index),
            "hostname": instance.private_dns_name,
            "instance-id": self.id,
            "instance-life-cycle": "spot" if self.spot_end_state else "on-demand",
            "instance-type": instance.instance_type,
            "local-hostname": instance.private_dns_name,
            "local-ipv4": instance.private_ip,
            "placement/availability-zone": instance.availability_zone,
            "placement/region": self._region,
            "reservation-id": self.reservation().id,
            "services/domain": "amazonaws.com",
        }

    def _network(self) -> dict[str, str]:
        """The entries of its network interfaces, without which cloud-init reads all of the metadata twice."""
        found: dict[str, str] = {}
        for number, nic in self.moto_instance.nics.items():
            place = f"network/interfaces/macs/{nic.mac_address}"
            found |= {
                "mac": nic.mac_address,
                f"{place}/device-number": str(number),
                f"{place}/local-ipv4s": nic.private_ip_address,
                f"{place}/mac": nic.mac_address,
                f"{place}/subnet-id": nic.subnet.id,
                f"{place}/vpc-id": nic.subnet.vpc_id,
            }
        return found

    def tags(self) -> Mapping[str, str]:
        with books_lock:
            return {tag["key"]: tag["value"] for tag in self.moto_instance.get_tags()}

    @property
    def shows_tags(self) -> bool:
        return bool(self.moto_instance.metadata_options.instance_metadata_tags == "enabled")

    def profile(self) -> tuple[str, str] | None:
        """The ARN of its instance profile and the id of the association; None without one."""
        association = self._association()
        return (str(association.iam_instance_profile.arn), str(association.association_id)) if association else None

    def profile_arn(self) -> str | None:
        profile = self.profile()
        return profile[0] if profile else None

    def role(self) -> Any:
        """moto's role of the instance's profile, or None. An instance that is ending keeps its role."""
        with books_lock:
            association = self._association()
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

    def _association(self) -> Any:
        return self.moto_instance.ec2_backend.iam_instance_profile_associations.get(self.id)

    def reservation(self) -> Any:
        """moto's reservation that holds it."""
        with books_lock:
            reservations = self.moto_instance.ec2_backend.reservations.values()
            return next(found for found in reservations if self.moto_instance in found.instances)

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
