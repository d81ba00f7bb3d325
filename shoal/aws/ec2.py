"""InstancePool on Amazon EC2: RunInstances, marks in tags, TerminateInstances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from shoal.aws.clients import our_errors
from shoal.errors import NotFound
from shoal.ports import Instance

POOL_TAG = "shoal:pool"  # whose instance it is: the prefix
LAUNCH_TAG = "shoal:launch"  # the token of the launch that made it
DRAIN_TAG = "shoal:drain"  # when it was asked to leave (ISO 8601); a worker reads it from its metadata endpoint
ALIVE = ("pending", "running", "shutting-down", "stopping", "stopped")


class Ec2Pool:
    """The instances that carry our pool tag.

    ec2:       makes the client, at the first use: reading EC2's large model costs a worker, which needs none, 0.2 s.
    boot_file: called at each launch, returns the user data.
    options:   further arguments of RunInstances (subnet, security group, key, role).
    """

    def __init__(
        self,
        ec2: Callable[[], Any],
        pool: str,
        image: str,
        instance_type: str,
        boot_file: Callable[[], str],
        options: dict[str, Any] | None = None,
    ) -> None:
        self._make_client = ec2
        self._pool = pool
        self._image = image
        self._instance_type = instance_type
        self._boot_file = boot_file
        self._options = options or {}
        self._image_id = ""

    @cached_property
    def _ec2(self) -> Any:
        return self._make_client()

    def describe(self) -> list[Instance]:
        filters = [
            {"Name": f"tag:{POOL_TAG}", "Values": [self._pool]},
            {"Name": "instance-state-name", "Values": list(ALIVE)},
        ]
        with our_errors("describe instances"):
            pages = self._ec2.get_paginator("describe_instances").paginate(Filters=filters)
            return [
                _instance(raw)
                for page in pages
                for reservation in page["Reservations"]
                for raw in reservation["Instances"]
            ]

    def launch(self, names: Sequence[str], token: str) -> list[Instance]:
        tags = [{"Key": POOL_TAG, "Value": self._pool}, {"Key": LAUNCH_TAG, "Value": token}]
        if len(names) == 1:
            tags.append({"Key": "Name", "Value": names[0]})
        with our_errors(f"launch {len(names)} instances"):
            answer = self._ec2.run_instances(
                ImageId=self.image_id(),
                InstanceType=self._instance_type,
                MinCount=1,
                MaxCount=len(names),
                ClientToken=token,
                UserData=self._boot_file(),
                InstanceInitiatedShutdownBehavior="terminate",
                MetadataOptions={"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
                TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
                **self._options,
            )
        launched = [_instance(raw) for raw in answer["Instances"]]
        if len(names) > 1:
            self._name(launched, names)
        return launched

    def _name(self, launched: Sequence[Instance], names: Sequence[str]) -> None:
        # The tags of a RunInstances call are the same for all it starts, so names of their own come after.
        for one, name in zip(launched, names, strict=False):
            with our_errors(f"name instance {one.id}"):
                self._ec2.create_tags(Resources=[one.id], Tags=[{"Key": "Name", "Value": name}])

    def drain(self, ids: Sequence[str]) -> None:
        mark = {"Key": DRAIN_TAG, "Value": datetime.now(UTC).isoformat(timespec="seconds")}
        self._act_on_each(ids, "drain", lambda some: self._ec2.create_tags(Resources=some, Tags=[mark]))

    def terminate(self, ids: Sequence[str]) -> None:
        self._act_on_each(ids, "terminate", lambda some: self._ec2.terminate_instances(InstanceIds=some))

    def _act_on_each(self, ids: Sequence[str], what: str, act: Callable[[list[str]], object]) -> None:
        if not ids:
            return
        try:
            with our_errors(f"{what} {len(ids)} instances"):
                act(list(ids))
        except NotFound:
            # One that is gone makes EC2 refuse the whole call: then one by one, and the gone one is no error.
            for one in ids if len(ids) > 1 else ():
                self._act_on_each([one], what, act)

    def image_id(self) -> str:
        """The AMI that instances start from, looked up by name once when it is not an id. Raises NotFound."""
        if self._image.startswith("ami-"):
            return self._image
        if not self._image_id:
            with our_errors(f"image {self._image}"):
                answer = self._ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": [self._image]}])
            newest = max(answer["Images"], key=lambda image: image.get("CreationDate", ""), default=None)
            if newest is None:
                raise NotFound(f"there is no machine image {self._image!r}: bake one (ami/README.md) or set SHOAL_AMI")
            self._image_id = newest["ImageId"]
        return self._image_id


def _instance(raw: dict[str, Any]) -> Instance:
    tags = {tag["Key"]: tag["Value"] for tag in raw.get("Tags", ())}
    drain = tags.get(DRAIN_TAG)
    return Instance(
        raw["InstanceId"],
        tags.get("Name", ""),
        raw["State"]["Name"],
        raw["LaunchTime"].timestamp(),
        datetime.fromisoformat(drain).timestamp() if drain else None,
        tags.get(LAUNCH_TAG, ""),
    )
