"""All of a Shoal's cloud from its settings, on AWS or on whatever boto3's endpoint variables point to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shoal.aws.clients import client
from shoal.aws.ec2 import Ec2Pool
from shoal.aws.iam import create_role
from shoal.aws.s3 import S3Store, create_bucket
from shoal.aws.sqs import SqsQueue, create_queue
from shoal.errors import Permanent
from shoal.messages import MAX_REQUEST_BYTES
from shoal.ports import Cloud, InstancePool
from shoal.settings import Settings


def _no_boot_file() -> str:
    raise Permanent("this program does not launch instances: only the controller does")


def connect(settings: Settings, boot_file: Callable[[], str] = _no_boot_file) -> Cloud:
    """Clients for everything that a Shoal uses. Nothing is called yet, so nothing can fail.

    boot_file: returns the user data of a new instance; only the controller has one.
    """
    s3, sqs = client("s3"), client("sqs")
    return Cloud(
        inputs=S3Store(s3, settings.in_bucket),
        outputs=S3Store(s3, settings.out_bucket),
        requests=SqsQueue(sqs, settings.req_queue),
        responses=SqsQueue(sqs, settings.resp_queue),
        dead_letters=SqsQueue(sqs, settings.dead_queue),
        pool=connect_pool(settings, boot_file),
    )


def connect_pool(settings: Settings, boot_file: Callable[[], str] = _no_boot_file) -> InstancePool:
    """The pool of worker instances alone."""
    return Ec2Pool(
        lambda: client("ec2"),
        settings.prefix,
        settings.image,
        settings.instance_type,
        boot_file,
        _launch_options(settings),
    )


def _launch_options(settings: Settings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "SubnetId": settings.subnet,
        "SecurityGroupIds": [settings.security_group] if settings.security_group else [],
        "KeyName": settings.key_name,
        "IamInstanceProfile": {"Name": settings.role},
    }
    return {name: value for name, value in options.items() if value}


def prepare(settings: Settings) -> None:
    """Make the two buckets, the three queues and the workers' role where they are missing. Safe to call again."""
    s3, sqs = client("s3"), client("sqs")
    create_bucket(s3, settings.in_bucket)
    create_bucket(s3, settings.out_bucket)
    create_queue(sqs, settings.dead_queue, settings.visibility_seconds)
    create_queue(
        sqs,
        settings.req_queue,
        settings.visibility_seconds,
        max_bytes=MAX_REQUEST_BYTES,
        dead_letters=settings.dead_queue,
        max_deliveries=settings.max_deliveries,
    )
    create_queue(sqs, settings.resp_queue, settings.visibility_seconds)
    create_role(client("iam"), settings.role, settings.prefix)
