"""Acting in a role. What a policy grants, and what of it an embedded cloud has seen used: pairs of Sid and action."""

import json
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.local_cloud_fixtures import CloudProcess


class Role:
    """Clients that act in a role."""

    def __init__(self, cloud: CloudProcess, name: str) -> None:
        self._cloud = cloud
        arn = f"arn:aws:iam::123456789012:role/{name}"
        self._keys = cloud.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]

    def client(self, service: str) -> Any:
        special = self._cloud.env.get(f"AWS_ENDPOINT_URL_{service.upper()}")
        return boto3.client(
            service,
            endpoint_url=special or self._cloud.env["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id=self._keys["AccessKeyId"],
            aws_secret_access_key=self._keys["SecretAccessKey"],
            aws_session_token=self._keys["SessionToken"],
            config=Config(signature_version="s3v4") if service == "s3" else None,
        )


def granted(policy: Path) -> set[tuple[str, str]]:
    return {
        (statement["Sid"], action)
        for statement in json.loads(policy.read_text())["Statement"]
        if statement["Effect"] == "Allow"
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }


def used(state_dir: Path, role: str) -> set[tuple[str, str]]:
    noted = [line for file in state_dir.glob("cloud/used-by-roles-*.jsonl") for line in file.read_text().splitlines()]
    return {(one["statement"], one["action"]) for one in map(json.loads, noted) if one["role"] == role}
