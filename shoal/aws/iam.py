"""The workers' role: what an instance may do. No keys are stored on instances. And the roles of AWS' own services."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from shoal.aws.clients import error_code, our_errors
from shoal.errors import NotFound, Permanent
from shoal.folders import folder

POLICY = folder("ami") / "worker-policy.json"
POLICY_NAME = "shoal-worker"
RUNS_POLICY_NAME = "shoal-runs"
SPOT = "spot.amazonaws.com"
AUTO_SCALING = "autoscaling.amazonaws.com"
_EXISTS = {"EntityAlreadyExists", "EntityAlreadyExistsException"}


def policy_document(file: Path, prefix: str, partition: str) -> str:
    """A policy of `ami/` for the Shoal `prefix`. partition: `aws`, `aws-cn` or `aws-us-gov`."""
    return file.read_text().replace("@PREFIX@", prefix).replace("arn:aws:", f"arn:{partition}:")


def trust(service: str, partition: str) -> str:
    """The policy that lets a service take a role. service: `ec2` or `lambda`."""
    domain = "amazonaws.com.cn" if (service, partition) == ("ec2", "aws-cn") else "amazonaws.com"
    principal = {"Service": f"{service}.{domain}"}
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def create_role(iam: Any, name: str, prefix: str) -> None:
    """Make the role and its instance profile, or update our policy. Ends what an interrupted call began.

    A role of the operator's own is not changed. Raises Permanent where one stands in the way.
    """
    policy = {
        "RoleName": name,
        "PolicyName": POLICY_NAME,
        "PolicyDocument": policy_document(POLICY, prefix, iam.meta.partition),
    }
    held = _roles_of_profile(iam, name)
    if held and not _has_our_policy(iam, held[0]):
        return  # the operator's own role, named by SHOAL_INSTANCE_PROFILE
    if held:
        with our_errors(f"role policy of {held[0]}"):
            iam.put_role_policy(**{**policy, "RoleName": held[0]})
        return
    _create(iam, name, f"Workers of the Shoal {prefix}", policy)
    if held is None:
        with our_errors(f"create instance profile {name}"):
            iam.create_instance_profile(InstanceProfileName=name)
    with our_errors(f"role of instance profile {name}"):
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)


def _roles_of_profile(iam: Any, name: str) -> list[str] | None:
    """The roles in the instance profile, at most one; None when there is no profile."""
    try:
        with our_errors(f"instance profile {name}"):
            found = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    except NotFound:
        return None
    return [str(role["RoleName"]) for role in found["Roles"]]


def _has_our_policy(iam: Any, name: str) -> bool:
    try:
        with our_errors(f"role policy of {name}"):
            iam.get_role_policy(RoleName=name, PolicyName=POLICY_NAME)
    except NotFound:
        return False
    return True


def _create(iam: Any, name: str, description: str, policy: dict[str, str]) -> None:
    """Make the role, or take one that an interrupted call made."""
    try:
        with our_errors(f"create role {name}"):
            document = trust("ec2", iam.meta.partition)
            iam.create_role(RoleName=name, AssumeRolePolicyDocument=document, Description=description)
    except Permanent as error:
        if error_code(error) not in _EXISTS:
            raise
        with our_errors(f"role {name}"):
            found = iam.get_role(RoleName=name)["Role"]
        if found.get("Description") != description:
            raise Permanent(
                f"there is a role {name} that Shoal has not made, without an instance profile: make a profile of this "
                "name with the role in it, or set SHOAL_PREFIX to something of your own"
            ) from error
    with our_errors(f"role policy of {name}"):
        iam.put_role_policy(**policy)


def runs_policy(read: Sequence[str], write: Sequence[str], partition: str) -> dict[str, Any]:
    """The least that bulk runs need besides. read, write: `bucket/prefix`, of sources and targets."""

    def objects(places: Sequence[str]) -> list[str]:
        return sorted(f"arn:{partition}:s3:::{place.partition('/')[0]}/{place.partition('/')[2]}*" for place in places)

    buckets = sorted({f"arn:{partition}:s3:::{place.partition('/')[0]}" for place in read})
    statements = [
        # Without a condition: with one, S3 would call a photo that was deleted a forbidden one.
        {"Sid": "ListPhotosOfRuns", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": buckets},
        {"Sid": "ReadPhotosOfRuns", "Effect": "Allow", "Action": "s3:GetObject", "Resource": objects(read)},
        {"Sid": "WriteLabelsOfRuns", "Effect": "Allow", "Action": "s3:PutObject", "Resource": objects(write)},
    ]
    return {"Version": "2012-10-17", "Statement": [one for one in statements if one["Resource"]]}


def allow_runs(iam: Any, profile: str, read: Sequence[str], write: Sequence[str]) -> dict[str, Any]:
    """Let the workers read these sources and write these targets, and what they were allowed before.

    Returns the policy. Raises NotFound where the role is not prepared.
    """
    held = _roles_of_profile(iam, profile)
    if not held:
        raise NotFound(f"there is no instance profile {profile} with a role in it: run `shoal prepare`")
    fresh = runs_policy(read, write, iam.meta.partition)
    statements = {one["Sid"]: one for one in fresh["Statement"]}
    try:
        with our_errors(f"role policy of {held[0]}"):
            before = iam.get_role_policy(RoleName=held[0], PolicyName=RUNS_POLICY_NAME)["PolicyDocument"]
    except NotFound:
        before = {"Statement": []}
    for one in before["Statement"]:
        known = statements.setdefault(one["Sid"], one)
        known["Resource"] = sorted({*known["Resource"], *one["Resource"]})
    policy = fresh | {"Statement": list(statements.values())}
    with our_errors(f"role policy of {held[0]}"):
        iam.put_role_policy(RoleName=held[0], PolicyName=RUNS_POLICY_NAME, PolicyDocument=json.dumps(policy))
    return policy


def allow_service(iam: Any, service: str) -> None:
    """Make the role that a service of AWS needs in this account, unless it is there. service: SPOT or AUTO_SCALING."""
    try:
        with our_errors(f"service-linked role for {service}"):
            iam.create_service_linked_role(AWSServiceName=service)
    except Permanent as error:
        # InvalidInput: "has been taken in this account".
        if error_code(error) not in {*_EXISTS, "InvalidInput", "InvalidInputException"}:
            raise


def role_in_words(iam: Any, name: str) -> str:
    """What doctor tells of the workers' role. Raises NotFound, and Permanent when it may not be looked at."""
    held = _roles_of_profile(iam, name)
    if not held:
        raise NotFound(f"there is no instance profile {name} with a role in it")
    with suppress(Permanent):
        return (
            f"{held[0]}, with {'the policy' if _has_our_policy(iam, held[0]) else 'policies of your own, not'} of Shoal"
        )
    return held[0]
