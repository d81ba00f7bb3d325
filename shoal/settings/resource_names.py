"""What a Shoal's buckets, queues, tables and functions are called: all names begin with its prefix. Pure."""

from __future__ import annotations


class ResourceNames:
    """The names; `prefix` is the setting of that name."""

    prefix: str

    @property
    def in_bucket(self) -> str:
        """The bucket of the photos."""
        return f"{self.prefix}-in-bucket"

    @property
    def out_bucket(self) -> str:
        """The bucket of the results."""
        return f"{self.prefix}-out-bucket"

    @property
    def req_queue(self) -> str:
        """The queue of the request messages."""
        return f"{self.prefix}-req-queue"

    @property
    def resp_queue(self) -> str:
        """The queue of the response messages."""
        return f"{self.prefix}-resp-queue"

    @property
    def dead_queue(self) -> str:
        """The queue of request messages that were delivered a hundred times and never finished."""
        return f"{self.prefix}-dead-queue"

    @property
    def term_queue(self) -> str:
        """The queue of terminate messages, for workers that drain by queue."""
        return f"{self.prefix}-term-queue"

    @property
    def bulk_queue(self) -> str:
        """The queue of bulk runs, from which workers take when nobody waits."""
        return f"{self.prefix}-bulk-queue"

    @property
    def pool_table(self) -> str:
        """The table with the register of the workers and the controllers' lease."""
        return f"{self.prefix}-pool"

    @property
    def images_table(self) -> str:
        """The table with the labels of each photo that the Lambda function has labelled."""
        return f"{self.prefix}-images"

    @property
    def labels_table(self) -> str:
        """The table with the photos of each label."""
        return f"{self.prefix}-labels"

    @property
    def function(self) -> str:
        """The name of the Lambda function and of its role."""
        return f"{self.prefix}-lambda"

    @property
    def tail_function(self) -> str:
        """The name of the Lambda function that runs the tails of the venue `split`, and of its role."""
        return f"{self.prefix}-lambda-tail"

    @property
    def function_failed_queue(self) -> str:
        """The queue of the events that the Lambda function could not handle."""
        return f"{self.prefix}-lambda-failed-queue"

    @property
    def launch_template(self) -> str:
        """The name of the launch template."""
        return f"{self.prefix}-worker"

    @property
    def scaling_group(self) -> str:
        """The name of the Auto Scaling group."""
        return f"{self.prefix}-workers"
