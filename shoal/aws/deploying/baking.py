"""Makes the machine image of the workers on AWS: a builder is launched, baked, saved as an image, and terminated.

The builder has no role, and nobody can reach it: it fetches what it is made of from signed addresses and puts what it
says to signed addresses, in a bucket that exists while the image is made.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from boto3.exceptions import S3UploadFailedError

from shoal.aws.clients import client, our_errors, use
from shoal.aws.deploying import account
from shoal.aws.deploying.deployment import TAG
from shoal.aws.deploying.emptying import empty
from shoal.aws.deploying.stack import Tell
from shoal.aws.deploying.worker_images import AVAILABLE, WorkerImages
from shoal.aws.ec2 import ALIVE
from shoal.aws.s3 import create_bucket
from shoal.aws.template import IMAGE_TAG, find_image
from shoal.errors import NotFound, Permanent, Retryable, ShoalError
from shoal.folders import folder
from shoal.retry import patiently
from shoal.settings import Settings

BUILDER_TAG = "shoal:builder"  # of the builder: the prefix. A second run finds by it what a first one left
DISK_GB = 12  # as the workers' in ami/stack.yaml, which cannot be smaller
ADDRESS_SECONDS = 7200  # how long the signed addresses hold
BAKE_SECONDS = 3600.0  # the builder switches itself off then
SILENT_SECONDS = 600.0  # until its first word
STOP_SECONDS = 300.0
IMAGE_SECONDS = 3600.0
PATIENCE_SECONDS = 120.0
LAST_WORDS = 3  # lines
SILENT = "it said nothing: it needs a way out, to S3 first, see --subnet and --security-group"
PACKED, TOLD, RESULT = "packed.tar", "told", "result"


@dataclass(frozen=True, slots=True)
class Builder:
    """What the builder is.

    image:  an AMI's id, or the name of an own one; Debian's newest when empty.
    type:   an instance type.  subnet, group: a subnet's and a security group's id; the default network's when empty.
    """

    image: str = ""
    type: str = ""
    subnet: str = ""
    group: str = ""


class Baking:
    """Makes images for these settings. Every method may raise Permanent and Retryable.

    tell: is given a line for each step, and each line that the builder says.  pause_seconds: between two looks.
    """

    def __init__(self, settings: Settings, builder: Builder, tell: Tell, pause_seconds: float = 5.0) -> None:
        use(settings.cloud)
        self._settings = settings
        self._builder = builder
        self._tell = tell
        self._pause = pause_seconds
        self._images = WorkerImages(settings)
        self._bucket = account.bake_bucket(settings)
        self._base = ""
        self._device = ""

    def begin(self) -> str:
        """Look whether all is there, and clear away what an interrupted bake left. Returns who calls."""
        who = account.caller()
        account.bucket_exists(self._bucket)
        self._clear_away()
        self._base = self._base_image()
        return who

    def bake(self, packed: Path, keep: int) -> str:
        """Make an image of what ami/pack-worker packed; returns its id. Keeps the newest `keep` images of ours.

        Whatever happens, builder and bucket are gone at the end; a killed process leaves them to the next one.
        """
        try:
            image = self._bake(packed)
        except BaseException:
            self._clear_away_at_last()
            raise
        self._clear_away()
        self._remove_old(keep)
        return image

    def _bake(self, packed: Path) -> str:
        create_bucket(client("s3"), self._bucket)
        self._send(packed)
        self._say("PUT", f"{packed.stat().st_size / 1e6:.0f} MB to {self._bucket}")
        identifier = self._launch(packed)
        self._say("LAUNCH", f"builder {identifier} ({self._type}) from {self._base}")
        self._follow(identifier)
        self._wait_until_stopped(identifier)
        return self._save(identifier)

    def _send(self, packed: Path) -> None:
        with our_errors(f"put {PACKED}"):
            try:
                client("s3").upload_file(str(packed), self._bucket, PACKED)
            except S3UploadFailedError as error:
                raise (error.__context__ or error) from None  # what AWS has said

    @property
    def _type(self) -> str:
        return self._builder.type or self._settings.instance_types[0]

    def _base_image(self) -> str:
        given = self._builder.image or account.debian("--from")
        found = find_image(client("ec2"), given)
        self._device = str(found.get("RootDeviceName") or "/dev/xvda")
        return str(found["ImageId"])

    def _launch(self, packed: Path) -> str:
        tags = [
            {"Key": TAG, "Value": self._settings.prefix},
            {"Key": BUILDER_TAG, "Value": self._settings.prefix},
            {"Key": "Name", "Value": f"{self._settings.prefix}-builder"},
        ]
        request: dict[str, Any] = {
            "ImageId": self._base,
            "InstanceType": self._type,
            "MinCount": 1,
            "MaxCount": 1,
            "ClientToken": uuid.uuid4().hex,
            "UserData": self._user_data(packed),
            "InstanceInitiatedShutdownBehavior": "stop",  # its disk becomes the image
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            "BlockDeviceMappings": [
                {
                    "DeviceName": self._device,
                    "Ebs": {"VolumeSize": DISK_GB, "VolumeType": "gp3", "DeleteOnTermination": True},
                }
            ],
            "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")],
        }
        if self._builder.subnet:
            request["SubnetId"] = self._builder.subnet
        if self._builder.group:
            request["SecurityGroupIds"] = [self._builder.group]
        with our_errors("launch the builder"):
            launched = client("ec2").run_instances(**request)
        return str(launched["Instances"][0]["InstanceId"])

    def _user_data(self, packed: Path) -> str:
        with packed.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        text = (folder("ami") / "builder-user-data.sh").read_text()
        values = {
            "@PACKED@": self._address("get_object", PACKED),
            "@SUM@": digest,
            "@TOLD@": self._address("put_object", TOLD),
            "@RESULT@": self._address("put_object", RESULT),
        }
        for name, value in values.items():
            text = text.replace(name, value)
        return text

    def _address(self, action: str, key: str) -> str:
        with our_errors(f"address of {key}"):
            return str(
                client("s3").generate_presigned_url(
                    action, Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=ADDRESS_SECONDS
                )
            )

    def _follow(self, identifier: str) -> None:
        """Tell what the builder says, until it says how it ended. Raises Permanent when it failed."""
        lines: list[str] = []
        began = time.monotonic()
        while time.monotonic() < began + (BAKE_SECONDS if lines else SILENT_SECONDS):
            # In this order: what it says at last is there before the result.
            state, result = self._state(identifier), self._object(RESULT).strip()
            said = self._object(TOLD).splitlines()
            for line in said[len(lines) :]:
                self._say("", line)
            lines = said or lines
            if result == "ok":
                return
            if result or state not in ("pending", "running"):
                last = "; ".join(lines[-LAST_WORDS:]) or SILENT
                raise Permanent(f"the builder {identifier} ended ({result or state}): {last}")
            self._wait()
        minutes = (time.monotonic() - began) / 60
        raise Permanent(f"the builder {identifier} has not ended after {minutes:.0f} minutes: {lines[-1:] or SILENT}")

    def _object(self, key: str) -> str:
        try:
            with our_errors(f"read {key}"):
                body: bytes = client("s3").get_object(Bucket=self._bucket, Key=key)["Body"].read()
        except (NotFound, Retryable):
            return ""  # nothing yet
        return body.decode(errors="replace")

    def _state(self, identifier: str) -> str:
        """The state of the builder. `pending` too where EC2 does not know it yet, or cannot be asked now."""
        try:
            with our_errors(f"builder {identifier}"):
                found = client("ec2").describe_instances(InstanceIds=[identifier])["Reservations"]
        except (NotFound, Retryable):
            return "pending"
        return str(found[0]["Instances"][0]["State"]["Name"]) if found else "pending"

    def _wait_until_stopped(self, identifier: str) -> None:
        """It stops itself. One that does not is stopped."""

        def stopped() -> None:
            if self._state(identifier) != "stopped":
                raise Retryable(f"builder {identifier} has not stopped")

        try:
            patiently(stopped, STOP_SECONDS, self._wait)
        except Retryable:
            with our_errors(f"stop {identifier}"):
                client("ec2").stop_instances(InstanceIds=[identifier])
            patiently(stopped, STOP_SECONDS, self._wait)
        self._say("STOPPED", f"builder {identifier}")

    def _save(self, identifier: str) -> str:
        name = f"{self._images.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        tags = [
            {"Key": TAG, "Value": self._settings.prefix},
            {"Key": IMAGE_TAG, "Value": self._images.name},
            {"Key": "Name", "Value": name},
        ]
        with our_errors(f"make image {name}"):
            made = client("ec2").create_image(
                InstanceId=identifier,
                Name=name,
                Description=f"Worker of the Shoal {self._settings.prefix}, on {self._base}",
                TagSpecifications=[{"ResourceType": kind, "Tags": tags} for kind in ("image", "snapshot")],
            )
        image = str(made["ImageId"])
        self._say("CREATE_IMAGE", f"{name} ({image}): some minutes")

        def available() -> None:
            with our_errors(f"image {image}"):
                [found] = client("ec2").describe_images(ImageIds=[image])["Images"] or [{"State": "pending"}]
            if found["State"] == "pending":
                raise Retryable(f"image {image} is still being made")
            if found["State"] != AVAILABLE:
                why = found.get("StateReason", {}).get("Message", "AWS names no cause")
                raise Permanent(f"image {image} is {found['State']}: {why}")

        patiently(available, IMAGE_SECONDS, self._wait)
        self._say("AVAILABLE", f"{name} ({image})")
        return image

    def _remove_old(self, keep: int) -> None:
        ours = [one for one in self._images.all() if one.is_ours and one.state == AVAILABLE]
        used = self._used()
        for one in ours[keep:]:
            if one.id in used:
                self._say("KEEP", f"{one.name} ({one.id}): instances run from it")
                continue
            self._images.remove(one)
            self._say("DELETE", f"{one.name} ({one.id}), an old image")

    def _used(self) -> set[str]:
        filters = [{"Name": "instance-state-name", "Values": list(ALIVE)}]
        with our_errors("describe instances"):
            pages = client("ec2").get_paginator("describe_instances").paginate(Filters=filters)
            found = [one for page in pages for reservation in page["Reservations"] for one in reservation["Instances"]]
        return {str(one["ImageId"]) for one in found}

    def _clear_away(self) -> None:
        """Terminate builders, delete the bucket and images that are not whole: of this bake, or of a killed one."""
        builders = self._builders()
        if builders:
            with our_errors("terminate builders"):
                client("ec2").terminate_instances(InstanceIds=builders)
            self._say("TERMINATE", f"builder {', '.join(builders)}")
        for one in self._images.all():
            if one.is_ours and one.state != AVAILABLE:
                self._images.remove(one)
                self._say("DELETE", f"{one.name} ({one.id}), which is {one.state}")
        for snapshot in self._images.orphans():
            self._images.remove_snapshot(snapshot)
            self._say("DELETE", f"{snapshot}, of an image that is gone")
        if account.bucket_exists(self._bucket):
            empty(self._bucket)
            with our_errors(f"delete {self._bucket}"):
                client("s3").delete_bucket(Bucket=self._bucket)
            self._say("DELETE", self._bucket)
        patiently(self._all_gone, PATIENCE_SECONDS, self._wait)

    def _all_gone(self) -> None:
        if left := self._builders():
            raise Retryable(f"builder {', '.join(left)} is not terminated yet")

    def _clear_away_at_last(self) -> None:
        """As `_clear_away`, while an error is on its way, which matters more than one of this."""
        try:
            patiently(self._clear_away, PATIENCE_SECONDS, self._wait)
        except ShoalError as error:
            self._tell(f"cannot clear away ({error}): `shoal bake` again does")

    def _builders(self) -> list[str]:
        filters = [
            {"Name": f"tag:{BUILDER_TAG}", "Values": [self._settings.prefix]},
            {"Name": "instance-state-name", "Values": list(ALIVE)},
        ]
        with our_errors("builders"):
            found = client("ec2").describe_instances(Filters=filters)["Reservations"]
        return [str(one["InstanceId"]) for reservation in found for one in reservation["Instances"]]

    def _say(self, word: str, text: str) -> None:
        self._tell(f"{word:<14} {text}".rstrip())

    def _wait(self) -> None:
        time.sleep(self._pause)
