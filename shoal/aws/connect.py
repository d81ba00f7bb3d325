"""Makes all cloud ports from the settings, on AWS or on the endpoints in boto3's variables."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shoal.aws.autoscaling import AutoScalingPool, GroupSettings, zones
from shoal.aws.bucket_events import announce
from shoal.aws.clients import Service, client, region, use
from shoal.aws.cloudwatch import PutMetrics
from shoal.aws.dynamodb import DynamoLeasePlace, DynamoRegister, create_table
from shoal.aws.ec2 import POOL_TAG, TAG, Ec2Pool
from shoal.aws.functions import function_exists
from shoal.aws.iam import AUTO_SCALING, SPOT, allow_runs, allow_service, create_role
from shoal.aws.instance_choice import InstanceChoice
from shoal.aws.label_tables import LabelTables
from shoal.aws.replies import SqsReplies
from shoal.aws.s3 import S3Buckets, S3Store, create_bucket, expire
from shoal.aws.sqs import SqsQueue, create_queue
from shoal.aws.template import LaunchTemplate
from shoal.aws.uploads import S3Uploads, allow_forms
from shoal.buckets.deleted_batches import FOLDERS_BY_BATCH, RUNS
from shoal.errors import Permanent, ShoalError
from shoal.lease import RecordLease
from shoal.lifecycle import SERVE_LOCK, holder, steady
from shoal.messages import MAX_EVENT_BYTES, MAX_REQUEST_BYTES
from shoal.ports import LAST_NET_DELIVERIES, Cloud, InstancePool
from shoal.settings import Settings


def _no_boot_file() -> str:
    raise Permanent("this program does not launch instances: only the controller does")


def connect(
    settings: Settings,
    boot_file: Callable[[], str] = _no_boot_file,
    max_instances: Callable[[], int] | None = None,
) -> Cloud:
    """All ports of a Shoal, without a call to the cloud. Raises Permanent when no region is set.

    boot_file:     returns the user data of a new instance; only the controller has one.
    max_instances: returns the number of instances that an Auto Scaling group may have; the settings' own when None.
    """
    use(settings.cloud)
    region()
    s3, sqs, dynamodb = Service("s3"), Service("sqs"), Service("dynamodb")
    place = DynamoLeasePlace(dynamodb, settings.pool_table)
    return Cloud(
        inputs=S3Store(s3, settings.in_bucket),
        outputs=S3Store(s3, settings.out_bucket),
        uploads=S3Uploads(s3, settings.in_bucket),
        requests=SqsQueue(sqs, settings.req_queue),
        responses=SqsQueue(sqs, settings.resp_queue),
        replies=SqsReplies(sqs, settings.resp_queue, settings.dead_queue, settings.max_deliveries),
        dead_letters=SqsQueue(sqs, settings.dead_queue),
        pool=connect_pool(settings, boot_file, max_instances or (lambda: settings.max_instances)),
        register=DynamoRegister(dynamodb, settings.pool_table),
        lease=RecordLease(place, steady, time.time),
        terminations=SqsQueue(sqs, settings.term_queue),
        bulk=SqsQueue(sqs, settings.bulk_queue),
        buckets=S3Buckets(s3),
    )


def label_tables(settings: Settings) -> LabelTables:
    """The tables of the venue `lambda`, without a call to the cloud. Raises Permanent when no region is set."""
    use(settings.cloud)
    region()
    return LabelTables(Service("dynamodb"), settings.images_table, settings.labels_table)


def put_metrics(pool: str, units: Mapping[str, str]) -> PutMetrics:
    """Publishes numbers to CloudWatch. `units` has the unit of each number that is not a count."""
    return PutMetrics(lambda: client("cloudwatch"), pool, units)


def connect_to_running(settings: Settings) -> Cloud:
    """`connect`, for a command of a person. Raises Permanent, which says how to start a Shoal when none runs here."""
    _check_that_one_runs(settings)
    return connect(settings)


def running_label_tables(settings: Settings) -> LabelTables:
    """`label_tables`, for a command of a person. Raises Permanent as `connect_to_running` does."""
    _check_that_one_runs(settings)
    return label_tables(settings)


def _check_that_one_runs(settings: Settings) -> None:
    use(settings.cloud)
    try:
        region()
    except Permanent:
        if holder(settings.state_dir / SERVE_LOCK) is not None:
            raise Permanent(
                "`shoal serve` runs here: it labels photos itself and has no queue and no workers"
            ) from None
        told = f"Shoal is not running in {settings.state_dir}: start it with `shoal up`"
        raise Permanent(f"{told} (for a Shoal on AWS, set AWS_DEFAULT_REGION)") from None


def connect_pool(settings: Settings, boot_file: Callable[[], str], max_instances: Callable[[], int]) -> InstancePool:
    """The pool of worker instances alone."""

    def ec2() -> Any:
        return client("ec2")

    template = LaunchTemplate(ec2, settings.launch_template, settings.image, boot_file, _launch_options(settings))
    types, places, share = settings.instance_types, settings.places, settings.spot_share
    machines = Ec2Pool(
        ec2, settings.prefix, template, InstanceChoice(types, places, share, settings.capacity_seconds, steady)
    )
    if settings.actuator == "ec2":
        return machines
    group = GroupSettings(settings.scaling_group, settings.prefix, types, places, share, max_instances)
    return AutoScalingPool(lambda: client("autoscaling"), group, machines, template, lambda: zones(ec2()))


def _launch_options(settings: Settings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "InstanceType": settings.instance_types[0],
        "SecurityGroupIds": [settings.security_group] if settings.security_group else [],
        "KeyName": settings.key_name,
        "IamInstanceProfile": {"Name": settings.role},
        # Auto Scaling asks EC2 whether its caller may launch this, with the template's tags alone. They are those of
        # ami/stack.yaml: a new version of a template has the tags that it names, and no others.
        "TagSpecifications": [
            {"ResourceType": kind, "Tags": [{"Key": key, "Value": settings.prefix} for key in keys]}
            for kind, keys in (("instance", (POOL_TAG, TAG)), ("volume", (TAG,)))
        ],
    }
    return {name: value for name, value in options.items() if value}


def prepare(settings: Settings) -> None:
    """Make the missing ones of two buckets, five queues, a table and the workers' role. Safe to repeat."""
    use(settings.cloud)
    s3, sqs = client("s3"), client("sqs")
    create_bucket(s3, settings.in_bucket)
    allow_forms(s3, settings.in_bucket)
    create_bucket(s3, settings.out_bucket)
    expire(s3, settings.in_bucket, settings.keep_days, (RUNS.rstrip("/"),))
    expire(s3, settings.out_bucket, settings.keep_days, FOLDERS_BY_BATCH)
    create_queue(sqs, settings.dead_queue, settings.visibility_seconds)
    create_queue(
        sqs,
        settings.req_queue,
        settings.visibility_seconds,
        max_bytes=MAX_EVENT_BYTES if settings.intake_prefix else MAX_REQUEST_BYTES,
        dead_letters=settings.dead_queue,
        max_deliveries=LAST_NET_DELIVERIES,
    )
    create_queue(
        sqs,
        settings.resp_queue,
        settings.visibility_seconds,
        dead_letters=settings.dead_queue,
        max_deliveries=settings.max_deliveries,
    )
    create_queue(sqs, settings.term_queue, settings.visibility_seconds)
    create_queue(sqs, settings.bulk_queue, settings.visibility_seconds)
    create_table(client("dynamodb"), settings.pool_table)
    iam = client("iam")
    create_role(iam, settings.role, settings.prefix)
    if settings.spot_share:
        allow_service(iam, SPOT)
    if settings.actuator == "autoscaling":
        allow_service(iam, AUTO_SCALING)
    if settings.intake_prefix:
        announce(s3, sqs, settings.in_bucket, settings.intake_prefix, settings.req_queue)


def prepare_runs(settings: Settings, read: Sequence[str], write: Sequence[str]) -> dict[str, Any]:
    """Let the workers read sources and write targets of bulk runs, `bucket/prefix` each. Returns the role's policy."""
    use(settings.cloud)
    return allow_runs(client("iam"), settings.role, read, write)


class PreparedFunction:
    """The function of the venue `lambda`, for a process that may lack the rights to ask for it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def exists(self) -> bool:
        """Whether it is prepared, and this process may know."""
        try:
            return function_exists(self._settings)
        except ShoalError:
            return False

    def forget(self, key: str) -> bool:
        """Delete what its tables say of a photo; False if they know nothing of it. Raises Retryable."""
        return label_tables(self._settings).forget(f"s3://{self._settings.in_bucket}/{key}")
