"""The workers' role: what an instance may do, and nothing else. No keys ever lie on an instance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shoal.aws.clients import our_errors
from shoal.errors import NotFound

POLICY = Path(__file__).parent.parent.parent / "ami" / "worker-policy.json"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def create_role(iam: Any, name: str, prefix: str) -> None:
    """Make the role and the instance profile of that name, unless the profile exists: then it is the operator's."""
    try:
        with our_errors(f"instance profile {name}"):
            iam.get_instance_profile(InstanceProfileName=name)
            return
    except NotFound:
        pass
    with our_errors(f"create role {name}"):
        iam.create_role(
            RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST), Description=f"Workers of the Shoal {prefix}"
        )
        policy = POLICY.read_text().replace("@PREFIX@", prefix)
        iam.put_role_policy(RoleName=name, PolicyName="shoal-worker", PolicyDocument=policy)
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
