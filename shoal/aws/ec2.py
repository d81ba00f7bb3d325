"""InstancePool on Amazon EC2: RunInstances from a launch template, marks in tags, TerminateInstances."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from shoal.aws.clients import error_code, our_errors
from shoal.aws.instance_choice import Ask, InstanceChoice
from shoal.aws.template import LaunchTemplate
from shoal.errors import CapacityUnavailable, NotFound, Permanent, Retryable, ShoalError
from shoal.ports import Instance

log = logging.getLogger(__name__)

TAG = "shoal"  # whose it is, of all that a deployment has: the prefix. By it the budget counts what workers cost
POOL_TAG = "shoal:pool"  # whose instance it is: the prefix
LAUNCH_TAG = "shoal:launch"  # the token of the launch that made it
DRAIN_TAG = "shoal:drain"  # when it was asked to leave (ISO 8601); a worker reads it from its metadata endpoint
ALIVE = ("pending", "running", "shutting-down", "stopping", "stopped")


QUOTA = {
    "InstanceLimitExceeded",
    "VcpuLimitExceeded",
}  # limits of the account: they are free again when an instance ends
NO_SPOT = {  # refusals of all spot instances: the account's quota, or a role that EC2 needs for them
    "MaxSpotInstanceCountExceeded",
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
}


class Ec2Pool:
    """The instances that carry our pool tag, launched one option in each call.

    ec2: makes the client, at the first use.
    """

    def __init__(self, ec2: Callable[[], Any], pool: str, template: LaunchTemplate, choice: InstanceChoice) -> None:
        self._make_client = ec2
        self._pool = pool
        self._template = template
        self._choice = choice
        self._total = self._spot = 0  # as in the last listing
        self._most: int | None = None  # a quota allows no more at once
        self._unnamed: dict[str, str] = {}  # names of instances that CreateTags did not find yet, by their id

    @property
    def _ec2(self) -> Any:
        return self._make_client()

    def describe(self) -> list[Instance]:
        filters = [
            {"Name": f"tag:{POOL_TAG}", "Values": [self._pool]},
            {"Name": "instance-state-name", "Values": list(ALIVE)},
        ]
        with our_errors("describe instances"):
            pages = self._ec2.get_paginator("describe_instances").paginate(
                Filters=filters, PaginationConfig={"PageSize": 1000}
            )
            found = [raw for page in pages for reservation in page["Reservations"] for raw in reservation["Instances"]]
        self._total, self._spot = len(found), sum(raw.get("InstanceLifecycle") == "spot" for raw in found)
        instances = [_instance(raw) for raw in found]
        late = [one for one in instances if one.id in self._unnamed]
        self.name(late, [self._unnamed.pop(one.id) for one in late])
        return instances

    def token(self, count: int) -> str:
        return self._choice.choose(min(count, self._most or count), self._total, self._spot).token()

    def launch(self, names: Sequence[str], token: str) -> list[Instance]:
        ask = Ask.of(token) or self._choice.choose(len(names), self._total, self._spot)
        names = names[: ask.count]
        try:
            with our_errors(f"launch {len(names)} of {ask.option}"):
                answer = self._ec2.run_instances(**self._request(ask, names, token))
        except ShoalError as error:
            return self._refused(ask, token, error)
        self._most = self._most and 2 * self._most
        launched = [_instance(raw) for raw in answer["Instances"]]
        taken = {one.name for one in launched}
        self.name([one for one in launched if not one.name], [name for name in names if name not in taken])
        return launched

    def _refused(self, ask: Ask, token: str, error: ShoalError) -> list[Instance]:
        """Remember what the refusal tells of later launches. Raises, except for a launch that was made before."""
        code = error_code(error)
        if code in QUOTA:
            self._most = max(1, ask.count // 2)  # EC2 refuses the whole call
        elif isinstance(error, CapacityUnavailable):
            self._choice.missing(ask.option, whole_market=code in NO_SPOT)
        elif isinstance(error, NotFound):
            self._template.forget()
        elif code == "IdempotentParameterMismatch":
            return self._launched_before(token, error)
        elif code == "InvalidParameterValue" and "InstanceType" in str(error):
            self._choice.unknown(ask.option.instance_type)  # the region does not have it: there may be others
            raise CapacityUnavailable(str(error)) from error.__cause__
        elif code == "VPCIdNotSpecified":
            raise Permanent(f"{error} (set SHOAL_SUBNET to subnets of your own)") from error.__cause__
        raise error

    def _request(self, ask: Ask, names: Sequence[str], token: str) -> dict[str, Any]:
        tags = [{"Key": key, "Value": self._pool} for key in (POOL_TAG, TAG)] + [{"Key": LAUNCH_TAG, "Value": token}]
        if ask.count == 1:
            tags.append({"Key": "Name", "Value": names[0]})
        request: dict[str, Any] = {
            "LaunchTemplate": {"LaunchTemplateName": self._template.name, "Version": self._template.version()},
            "InstanceType": ask.option.instance_type,
            "MinCount": 1,
            "MaxCount": ask.count,
            "ClientToken": token,
            "TagSpecifications": [{"ResourceType": "instance", "Tags": tags}],
        }
        if ask.option.place.startswith("subnet-"):
            request["SubnetId"] = ask.option.place
        elif ask.option.place:
            request["Placement"] = {"AvailabilityZone": ask.option.place}
        if ask.option.spot:
            request["InstanceMarketOptions"] = {"MarketType": "spot"}
        return request

    def _launched_before(self, token: str, error: ShoalError) -> list[Instance]:
        """The instances launched with this token by another controller that has other settings."""
        found = [one for one in self.describe() if one.launch == token]
        if not found:
            # Not shown yet, or gone already: the launch counts until it shows up or times out.
            raise Retryable(f"launched before, and not shown yet: {error}") from error
        return found

    def name(self, launched: Sequence[Instance], names: Sequence[str]) -> None:
        """Tag instances with their names. An instance without a name works all the same."""
        # A RunInstances call gives all its instances the same tags, so names are set afterwards.
        for one, name in zip(launched, names, strict=False):
            try:
                with our_errors(f"name instance {one.id}"):
                    self._ec2.create_tags(Resources=[one.id], Tags=[{"Key": "Name", "Value": name}])
            except NotFound:
                self._unnamed[one.id] = name  # it may take EC2 seconds to know a new instance everywhere
            except ShoalError as error:
                log.warning("an instance stays without its name: %s", error)

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
            # EC2 refuses the whole call when one instance is gone. Then ask one by one; a gone instance is no error.
            for one in ids if len(ids) > 1 else ():
                self._act_on_each([one], what, act)


def _instance(raw: dict[str, Any]) -> Instance:
    tags = {tag["Key"]: tag["Value"] for tag in raw.get("Tags", ())}
    launched_at = raw["LaunchTime"].timestamp()
    return Instance(
        raw["InstanceId"],
        tags.get("Name", ""),
        raw["State"]["Name"],
        launched_at,
        _drain_since(tags.get(DRAIN_TAG), launched_at),
        tags.get(LAUNCH_TAG, ""),
    )


def _drain_since(mark: str | None, launched_at: float) -> float | None:
    """When the mark was set; any other text, set by hand, makes the worker leave as well."""
    if not mark:
        return None
    try:
        return datetime.fromisoformat(mark).timestamp()
    except ValueError:
        return launched_at
