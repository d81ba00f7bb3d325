"""The ports on AWS: the only package that imports boto3."""

from shoal.aws.clients import region
from shoal.aws.connect import (
    check_last_net,
    connect,
    connect_to_running,
    label_tables,
    prepare,
    put_metrics,
    running_label_tables,
)
from shoal.aws.functions import function_exists, prepare_function, remove_function

__all__ = [
    "check_last_net",
    "connect",
    "connect_to_running",
    "function_exists",
    "label_tables",
    "prepare",
    "prepare_function",
    "put_metrics",
    "region",
    "remove_function",
    "running_label_tables",
]
