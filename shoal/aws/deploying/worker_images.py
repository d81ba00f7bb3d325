"""The machine images of a Shoal's workers: which there are, which one counts, which are removed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shoal.aws.clients import client, our_errors
from shoal.aws.deploying.deployment import TAG
from shoal.aws.template import IMAGE_TAG, SINCE_TAG, since
from shoal.errors import NotFound
from shoal.settings import Settings

AVAILABLE = "available"


@dataclass(frozen=True, slots=True)
class WorkerImage:
    """since: when it was made or chosen, as EC2 writes times; the newest one counts.  is_ours: `shoal bake` made it."""

    id: str
    name: str
    state: str
    since: str
    is_ours: bool
    snapshots: tuple[str, ...]


class WorkerImages:
    """The images of the workers of these settings. Every method may raise Permanent and Retryable."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.prefix
        # A deployment that names an image by its id has others besides, under the usual name.
        self.name = f"{settings.prefix}-worker" if settings.image.startswith("ami-") else settings.image

    def all(self) -> list[WorkerImage]:
        """All of them in any state, the one that counts first: those with the tag, and one of the very name."""
        ways = [{"Name": f"tag:{IMAGE_TAG}", "Values": [self.name]}, {"Name": "name", "Values": [self.name]}]
        with our_errors(f"images {self.name}"):
            answers = [client("ec2").describe_images(Owners=["self"], Filters=[one]) for one in ways]
        found = {one["ImageId"]: self._image(one) for answer in answers for one in answer["Images"]}
        return sorted(found.values(), key=lambda one: one.since, reverse=True)

    def _image(self, raw: dict[str, Any]) -> WorkerImage:
        tags = {one["Key"]: one["Value"] for one in raw.get("Tags") or ()}
        disks = (one.get("Ebs", {}).get("SnapshotId") for one in raw.get("BlockDeviceMappings") or ())
        return WorkerImage(
            id=raw["ImageId"],
            name=raw.get("Name", ""),
            state=raw.get("State", AVAILABLE),
            since=since(raw),
            is_ours=tags.get(TAG) == self._prefix,
            snapshots=tuple(filter(None, disks)),
        )

    def choose(self, image: str) -> None:
        """Let this one count from now on: whatever looks for the newest image takes it."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        with our_errors(f"choose image {image}"):
            client("ec2").create_tags(Resources=[image], Tags=[{"Key": SINCE_TAG, "Value": now}])

    def orphans(self) -> list[str]:
        """The ids of snapshots that `shoal bake` made and no image has: a removal was interrupted between the two."""
        ours = [{"Name": f"tag:{IMAGE_TAG}", "Values": [self.name]}, {"Name": f"tag:{TAG}", "Values": [self._prefix]}]
        with our_errors(f"snapshots of {self.name}"):
            pages = client("ec2").get_paginator("describe_snapshots").paginate(OwnerIds=["self"], Filters=ours)
            made = [str(one["SnapshotId"]) for page in pages for one in page["Snapshots"]]
        kept = {one for image in self.all() for one in image.snapshots}
        return [one for one in made if one not in kept]

    def remove(self, image: WorkerImage) -> None:
        """Delete an image and what it keeps on disks; no error when it is gone."""
        with suppress(NotFound), our_errors(f"remove {image.id}"):
            client("ec2").deregister_image(ImageId=image.id)
        for one in image.snapshots:
            self.remove_snapshot(one)

    def remove_snapshot(self, snapshot: str) -> None:
        """Delete what an image kept on a disk; no error when it is gone."""
        with suppress(NotFound), our_errors(f"remove {snapshot}"):
            client("ec2").delete_snapshot(SnapshotId=snapshot)
