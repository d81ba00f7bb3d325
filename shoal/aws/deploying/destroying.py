"""Destroys a deployment: what it runs, its stack, and as told its photos. Each step can be repeated."""

from __future__ import annotations

import time
from collections.abc import Callable

from shoal.aws.clients import client, our_errors, use
from shoal.aws.deploying import account, leftovers
from shoal.aws.deploying.deployment import password_name
from shoal.aws.deploying.emptying import empty
from shoal.aws.deploying.stack import DeploymentStack, Tell
from shoal.aws.label_tables import remove_tables
from shoal.errors import NotFound, Retryable
from shoal.retry import patiently
from shoal.settings import Settings

TERMINATE_SECONDS = 600.0


class Destruction:
    """Destroys the deployment of these settings. Every method may raise Permanent and Retryable.

    tell: is given a line for each step. pause_seconds: between two looks.
    """

    def __init__(self, settings: Settings, tell: Tell, pause_seconds: float = 2.0) -> None:
        use(settings.cloud)
        self._settings = settings
        self._tell = tell
        self._pause = pause_seconds
        self._stack = DeploymentStack(settings.prefix, tell, pause_seconds)

    def there(self) -> list[tuple[str, str]]:
        """What there is: the kind and the name of each."""
        account.caller()
        found = leftovers.left(self._settings)
        status = self._stack.state().status
        return [("stack", self._settings.prefix)] * bool(status) + found

    def stays_with_photos(self) -> set[tuple[str, str]]:
        """What is not deleted where photos are kept: the kind and the name of each."""
        settings = self._settings
        buckets, tables = (settings.in_bucket, settings.out_bucket), (settings.images_table, settings.labels_table)
        return {("bucket", name) for name in buckets} | {("table", name) for name in tables}

    def destroy(self, delete_photos: bool) -> list[tuple[str, str]]:
        """Destroy it. Returns what is there afterwards; with `delete_photos` nothing should be.

        The page's instance goes first: its controller would launch workers again.
        """
        account.caller()
        state = self._stack.state()
        if state.moves:
            self._stack.follow()
        page = (state.outputs or {}).get("WebInstanceId", "")
        self._terminate([page] if page else [])
        self._remove_group()
        self._terminate(leftovers.instances(self._settings.prefix))
        self._empty(account.code_bucket(self._settings))
        self._delete_bucket(account.bake_bucket(self._settings))
        self._stack.delete()
        self._remove_what_ran_made()
        if delete_photos:
            self._delete_photos()
        return self.there()

    def _terminate(self, ids: list[str]) -> None:
        alive = [one for one in ids if one in leftovers.instances(self._settings.prefix)]
        if not alive:
            return
        with our_errors("terminate instances"):
            client("ec2").terminate_instances(InstanceIds=alive)
        self._tell(f"{'TERMINATE':<28} {len(alive)} instances: {', '.join(alive)}")

        def ended() -> None:
            if set(alive) & set(leftovers.instances(self._settings.prefix)):
                raise Retryable(f"{', '.join(alive)} are not terminated yet")

        patiently(ended, TERMINATE_SECONDS, self._wait)

    def _remove_group(self) -> None:
        """The group would launch again what is terminated."""
        name = self._settings.scaling_group
        autoscaling = client("autoscaling")
        with our_errors(f"group {name}"):
            groups = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
            if groups:
                autoscaling.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)
                self._tell(f"{'DELETE':<28} Auto Scaling group {name}")

    def _empty(self, bucket: str) -> None:
        """Delete all objects of a bucket, with all their versions; no error when there is no bucket."""
        if account.bucket_exists(bucket) and (count := empty(bucket)):
            self._tell(f"{'DELETE':<28} {count} objects of {bucket}")

    def _remove_what_ran_made(self) -> None:
        """Queues of web processes, the controller's launch template, the password; what `shoal prepare` made."""
        settings = self._settings
        self._delete_bucket(account.code_bucket(settings))
        with our_errors("table"):
            remove_tables(client("dynamodb"), settings.pool_table)
        for url in leftovers.queues(settings.prefix):
            self._removed(f"queue {url.rpartition('/')[2]}", lambda url=url: client("sqs").delete_queue(QueueUrl=url))  # type: ignore[misc]
        if template := leftovers.launch_template(settings):
            self._removed(
                f"launch template {settings.launch_template}",
                lambda: client("ec2").delete_launch_template(LaunchTemplateId=template),
            )
        name = password_name(settings)
        self._removed(f"password {name}", lambda: client("ssm").delete_parameter(Name=name))

    def _delete_photos(self) -> None:
        settings = self._settings
        for bucket in (settings.in_bucket, settings.out_bucket):
            self._delete_bucket(bucket)
        with our_errors("tables"):
            remove_tables(client("dynamodb"), settings.images_table, settings.labels_table)

    def _delete_bucket(self, bucket: str) -> None:
        self._empty(bucket)
        self._removed(f"bucket {bucket}", lambda: client("s3").delete_bucket(Bucket=bucket))

    def _removed(self, what: str, remove: Callable[[], object]) -> None:
        try:
            with our_errors(f"delete {what}"):
                remove()
        except NotFound:
            return
        self._tell(f"{'DELETE':<28} {what}")

    def _wait(self) -> None:
        time.sleep(self._pause)
