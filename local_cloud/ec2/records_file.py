"""Keeps the record of each instance on disk, so that it can be described after a restart."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moto.core.types import Base64EncodedString
from moto.ec2.models.instances import InstanceBackend

from local_cloud.ec2 import seeded_ids
from local_cloud.ec2.record import Ec2Record, LaunchDetails, make_spot
from local_cloud.machines.guest import Guest
from local_cloud.machines.instance_host import HOST_ENDINGS, InstanceHost

BOOT_FAILED = "Server.InternalError"
BOOT_FAILED_MESSAGE = f"{BOOT_FAILED}: Internal error on launch"
# Taken before the hooks replace it.
_run_instances = InstanceBackend.run_instances

Enter = Callable[[Any, LaunchDetails], Ec2Record]


class RecordsFile:
    """instances/<id>/record.json for every instance. The caller of its methods holds books_lock."""

    def __init__(self, folder: Path, host: InstanceHost) -> None:
        self._folder = folder
        self._host = host
        self._written: dict[str, str] = {}

    def save(self, records: Mapping[str, Ec2Record]) -> None:
        """Write the records that have changed."""
        for identifier, record in records.items():
            text = json.dumps(_describe(record))
            if self._written.get(identifier) != text:
                path = Guest(identifier, self._folder / identifier).record
                draft = path.with_suffix(".draft")
                draft.write_text(text)
                draft.replace(path)
                self._written[identifier] = text
        for gone in self._written.keys() - records.keys():
            del self._written[gone]

    def restore(self, backend: Any, enter: Enter) -> list[str]:
        """Restore every instance that is written down. Returns a line for each failure."""
        known, troubles = [], []
        for folder in self._folder.iterdir():
            path = Guest(folder.name, folder).record
            if path.exists():
                known.append(json.loads(path.read_text()))
            else:
                shutil.rmtree(folder)
        for entry in sorted(known, key=lambda entry: (entry["launched"], entry["reservation"], entry["index"])):
            try:
                self._restore_one(backend, entry, enter)
            except Exception as error:  # another version of moto may refuse anything
                troubles.append(f"instance {entry['id']} could not be restored: {error!r}")
        return troubles

    def _restore_one(self, backend: Any, known: dict[str, Any], enter: Enter) -> None:
        instance = _enter_in_moto(backend, known)
        launch = LaunchDetails(known["spot_end_state"], known["token"], known["asked"])
        record = enter(instance, launch)
        _end(record, known)
        terminated_ago = None
        if record.state == "terminated":
            record.ended_at = datetime.fromisoformat(known["ended"]) if known["ended"] else datetime.now(UTC)
            terminated_ago = time.time() - record.ended_at.timestamp()
            record.release()
        self._host.adopt(record, record.image_id, terminated_ago)


def _describe(record: Ec2Record) -> dict[str, Any]:
    instance = record.moto_instance
    reason = instance.state_reason
    return {
        "id": record.id,
        "seed": instance.seed,
        "reservation": record.reservation().id,
        "index": instance.ami_launch_index,
        "launched": instance.launch_time.isoformat(),
        "ended": record.ended_at.isoformat() if record.ended_at else None,
        "state": record.state,
        "end_state_with_host": record.end_state_with_host,
        "reason": [instance._reason, reason.code, reason.message],
        "image": record.image_id,
        "type": instance.instance_type,
        "user_data": str(instance.user_data) if instance.user_data else None,
        "zone": instance.availability_zone,
        "subnet": instance._subnet_id,
        "private_ip": instance.private_ip,
        "key_name": instance.key_name,
        "security_groups": [group.id for group in instance.security_groups],
        "shutdown_behavior": instance.instance_initiated_shutdown_behavior,
        "protected": instance.disable_api_termination,
        "stop_protected": instance.disable_api_stop,
        "metadata_options": _metadata_options(instance.metadata_options),
        "tags": dict(record.tags()),
        "profile": record.profile(),
        "spot_end_state": record.launch.spot_end_state,
        "spot_request": getattr(instance, "spot_instance_request_id", None),
        "token": record.launch.token,
        "asked": record.launch.asked,
    }


def _metadata_options(options: Any) -> dict[str, Any]:
    return {
        "HttpTokens": options.http_tokens,
        "HttpPutResponseHopLimit": options.http_put_response_hop_limit,
        "HttpEndpoint": options.http_endpoint,
        "HttpProtocolIpv6": options.http_protocol_ipv6,
        "InstanceMetadataTags": options.instance_metadata_tags,
    }


def _enter_in_moto(backend: Any, known: Mapping[str, Any]) -> Any:
    """Create the instance again, with the ids it had. Raises moto's errors, and LookupError for another id."""
    with seeded_ids.ids_of(known["seed"]):
        reservation: Any = _run_instances(
            backend,
            known["image"],
            1,
            Base64EncodedString(known["user_data"]) if known["user_data"] else None,
            [],
            seed=known["seed"],
            instance_type=known["type"],
            is_instance_type_default=False,
            region_name=backend.region_name,
            placement=known["zone"],
            subnet_id=known["subnet"],
            private_ip=known["private_ip"] if known["subnet"] else None,
            key_name=known["key_name"],
            security_group_ids=known["security_groups"],
            tags={"instance": known["tags"]},
            instance_initiated_shutdown_behavior=known["shutdown_behavior"],
            disable_api_termination=known["protected"],
            disable_api_stop=known["stop_protected"],
            metadata_options=known["metadata_options"],
            client_token=known["token"] or "",
            hibernation_options={},
        )
    instance = reservation.instances[0]
    if instance.id != known["id"]:
        del backend.reservations[reservation.id]
        raise LookupError(f"moto gives it the id {instance.id} now")
    _file_under(backend, reservation, known["reservation"])
    instance.ami_launch_index = known["index"]
    instance.launch_time = datetime.fromisoformat(known["launched"])
    if known["spot_request"]:
        make_spot(instance, known["spot_request"])
    if known["profile"]:
        _associate(backend, instance, *known["profile"])
    return instance


def _associate(backend: Any, instance: Any, arn: str, identifier: str) -> None:
    """Associate its instance profile, with the id that the association had."""
    association = backend.associate_iam_instance_profile(instance_id=instance.id, iam_instance_profile_arn=arn)
    association.association_id = identifier
    instance.iam_instance_profile = {"Arn": arn, "Id": identifier}


def _file_under(backend: Any, reservation: Any, identifier: str) -> None:
    """Give the reservation its old id. If that reservation exists, move the instance into it."""
    del backend.reservations[reservation.id]
    kept = backend.reservations.setdefault(identifier, reservation)
    if kept is reservation:
        reservation.id = identifier
    else:
        kept.instances += reservation.instances


def _end(record: Ec2Record, known: Mapping[str, Any]) -> None:
    """Set the state in which the end of the host has left the instance."""
    state = known["state"]
    _, code, message = known["reason"]
    if state in ("stopped", "stopping", "terminated", "shutting-down"):
        final = {"stopping": "stopped", "shutting-down": "terminated"}.get(state, state)
        record.set_state(final, code, message)
        record.moto_instance._reason = known["reason"][0]
    elif state == "pending":
        # Its image may be half copied.
        record.set_state("terminated", BOOT_FAILED, BOOT_FAILED_MESSAGE)
    else:
        final = known["end_state_with_host"]
        record.set_state(final, *HOST_ENDINGS[final])
