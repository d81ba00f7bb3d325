"""The ports on AWS: the only package that imports boto3."""

from shoal.aws.checks import check_last_net, look_at_bucket, look_at_image, look_at_role, look_at_types
from shoal.aws.clients import region
from shoal.aws.connect import (
    PreparedFunction,
    connect,
    connect_to_running,
    label_tables,
    prepare,
    prepare_runs,
    put_metrics,
    running_label_tables,
)
from shoal.aws.functions import function_exists, prepare_function, remove_function
from shoal.aws.on_lambda.tail import (
    HttpAnswer,
    SignedCalls,
    TailFunction,
    find_tail_function,
    prepare_tail_function,
    remove_tail_function,
)

__all__ = [
    "HttpAnswer",
    "PreparedFunction",
    "SignedCalls",
    "TailFunction",
    "check_last_net",
    "connect",
    "connect_to_running",
    "find_tail_function",
    "function_exists",
    "label_tables",
    "look_at_bucket",
    "look_at_image",
    "look_at_role",
    "look_at_types",
    "prepare",
    "prepare_function",
    "prepare_runs",
    "prepare_tail_function",
    "put_metrics",
    "region",
    "remove_function",
    "remove_tail_function",
    "running_label_tables",
]
