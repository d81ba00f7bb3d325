"""An AWS account in this process, as far as `shoal bake` and `upgrade` look at it: quick, to fail at every call."""

# ruff: noqa: N803 - the names of parameters are AWS' own

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from shoal.aws.deploying.baking import PACKED, RESULT, TOLD
from shoal.aws.ec2 import DRAIN_TAG
from tests.deployment_fixtures import refusal
from tests.deployment_stand_in import AccountInMemory, Members

NAME = "fish-worker"
OLD, BEFORE = "ami-old", "ami-before"


def tags_of(members: Members, kind: str) -> dict[str, str]:
    """The tags that a call gives to what it makes of this kind."""
    [found] = [one["Tags"] for one in members["TagSpecifications"] if one["ResourceType"] == kind]
    return {one["Key"]: one["Value"] for one in found}


class BakingAccount(AccountInMemory):
    """An account with two older images, and a worker of each. Images are dated by a counter."""

    def __init__(self) -> None:
        super().__init__("fish")
        self.machines: dict[str, dict[str, Any]] = {}
        self.images: dict[str, dict[str, Any]] = {}
        self.snapshots: dict[str, dict[str, str]] = {}
        self.hours = 0
        ours = {"shoal": "fish", "shoal:image": NAME}
        for image in (OLD, BEFORE):
            self._register(image, f"{NAME}-{image}", ours, ours)
            self._launch(image, {"shoal:pool": "fish"}, f"i-of-{image}")

    def everything(self) -> set[tuple[str, str]]:
        """All that there is: machines, images that count with their snapshots, objects. Names of new images differ."""
        found = super().everything() | {
            ("machine", one) for one, its in self.machines.items() if its["State"]["Name"] != "terminated"
        }
        whole = {one for one, image in self.images.items() if image["State"] == "available"}
        found |= {("image", one if one in (OLD, BEFORE) else "new") for one in whole}
        found |= {("snapshot", one if one.endswith((OLD, BEFORE)) else "new") for one in self.snapshots}
        return found | {("counts", str(len(self.images))), ("snapshots", str(len(self.snapshots)))}

    def counting(self) -> str:
        """The image from which new workers start."""
        return max(self.images, key=lambda one: self._since(self.images[one]))

    def _since(self, image: Members) -> str:
        chosen = [str(one["Value"]) for one in image["Tags"] if one["Key"] == "shoal:since"]
        return max([str(image["CreationDate"]), *chosen])

    def _register(self, image: str, name: str, tags: Members, disk: Members) -> None:
        self.hours += 1
        self.snapshots[f"snap-{image}"] = dict(disk)
        self.images[image] = {
            "ImageId": image,
            "Name": name,
            "State": "available",
            "CreationDate": f"2026-01-01T{self.hours:02}:00:00.000Z",
            "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
            "BlockDeviceMappings": [{"Ebs": {"SnapshotId": f"snap-{image}"}}],
        }

    def _launch(self, image: str, tags: Members, identifier: str) -> None:
        self.machines[identifier] = {
            "InstanceId": identifier,
            "ImageId": image,
            "State": {"Name": "running"},
            "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
        }

    # EC2

    def describe_instances(self, Filters: Any = (), InstanceIds: Any = ()) -> Any:
        for one in self.machines.values():  # a worker that was asked leaves
            if DRAIN_TAG in {tag["Key"] for tag in one["Tags"]}:
                one["State"] = {"Name": "terminated"}
        found = [one for one in self.machines.values() if one["State"]["Name"] != "terminated"]
        if InstanceIds:
            found = [self.machines[one] for one in InstanceIds]
        for asked in Filters:
            if asked["Name"].startswith("tag:"):
                tag = {"Key": asked["Name"].removeprefix("tag:"), "Value": asked["Values"][0]}
                found = [one for one in found if tag in one["Tags"]]
        return {"Reservations": [{"Instances": [one]} for one in found]}

    def run_instances(self, **members: Any) -> Any:
        identifier = f"i-builder-{len(self.machines)}"
        self._launch(members["ImageId"], tags_of(members, "instance"), identifier)
        return {"Instances": [{"InstanceId": identifier}]}

    def terminate_instances(self, InstanceIds: list[str]) -> Any:
        for one in InstanceIds:
            self.machines[one]["State"] = {"Name": "terminated"}

    def stop_instances(self, InstanceIds: list[str]) -> Any:
        for one in InstanceIds:
            self.machines[one]["State"] = {"Name": "stopped"}

    def describe_images(self, Filters: Any = (), ImageIds: Any = (), **_: Any) -> Any:
        if "ami-debian" in ImageIds:
            return {"Images": [{"ImageId": "ami-debian", "RootDeviceName": "/dev/xvda"}]}
        found = [self.images[one] for one in ImageIds]
        for asked in Filters:
            if asked["Name"] == "tag:shoal:image":
                found = list(self.images.values())
        answer = {"Images": [dict(one) for one in found]}
        for one in found:  # made at the second look
            one["State"] = "available"
        return answer

    def create_image(self, **members: Any) -> Any:
        image = f"ami-new-{self.hours}"
        self._register(image, members["Name"], tags_of(members, "image"), tags_of(members, "snapshot"))
        self.images[image]["State"] = "pending"
        return {"ImageId": image}

    def deregister_image(self, ImageId: str) -> Any:
        if self.images.pop(ImageId, None) is None:
            raise refusal("DeregisterImage", "InvalidAMIID.NotFound", "there is no such image")

    def describe_snapshots(self, Filters: Any, **_: Any) -> Any:
        return {"Snapshots": [{"SnapshotId": one} for one, tags in self.snapshots.items() if tags]}

    def delete_snapshot(self, SnapshotId: str) -> Any:
        kept = {disk["Ebs"]["SnapshotId"] for one in self.images.values() for disk in one["BlockDeviceMappings"]}
        if SnapshotId in kept:
            raise refusal("DeleteSnapshot", "InvalidSnapshot.InUse", "an image has it")
        if self.snapshots.pop(SnapshotId, None) is None:
            raise refusal("DeleteSnapshot", "InvalidSnapshot.NotFound", "there is no such snapshot")

    def create_tags(self, Resources: list[str], Tags: Any) -> Any:
        for one in Resources:
            thing = self.images.get(one) or self.machines[one]
            names = {tag["Key"] for tag in Tags}
            thing["Tags"] = [tag for tag in thing["Tags"] if tag["Key"] not in names] + list(Tags)

    # S3

    def create_bucket(self, Bucket: str, **_: Any) -> Any:
        self.there.add(("bucket", Bucket))

    def put_public_access_block(self, Bucket: str, **_: Any) -> Any:
        return self._check("bucket", Bucket, "NoSuchBucket")

    def upload_file(self, path: str, bucket: str, key: str) -> Any:
        assert Path(path).exists()
        self.objects.setdefault(bucket, set()).add(key)

    def generate_presigned_url(self, action: str, Params: Members, ExpiresIn: int) -> Any:
        return f"https://s3/{Params['Key']}"

    def get_object(self, Bucket: str, Key: str) -> Any:
        """The builder has spoken at the first look, and is done and stopped when it has."""
        self._check("bucket", Bucket, "NoSuchBucket")
        self.objects[Bucket] |= {TOLD, RESULT}
        if Key == RESULT:
            for one in self.machines.values():
                if "shoal:builder" in {tag["Key"] for tag in one["Tags"]}:
                    one["State"] = {"Name": "stopped"}
        assert PACKED in self.objects[Bucket]
        return {"Body": io.BytesIO({TOLD: b"fetching\n", RESULT: b"ok\n"}[Key])}
