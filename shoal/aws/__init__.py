"""The ports on AWS: the only package that imports boto3."""

from shoal.aws.clients import region
from shoal.aws.connect import connect, connect_to_running, prepare, put_metrics

__all__ = ["connect", "connect_to_running", "prepare", "put_metrics", "region"]
