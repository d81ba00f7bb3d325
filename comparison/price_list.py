"""What calls of AWS cost for an image in each venue. The prices are those of `shoal.deployment.service_prices`."""

from __future__ import annotations

from collections.abc import Mapping

from shoal.deployment.service_prices import listed

POOL_CALLS = {"s3_put": 2, "s3_get": 2, "sqs_call": 0.6}
"""Calls for one image: photo and result are stored and read; ten messages share each of about six calls to SQS."""

FUNCTION_CALLS = {"s3_put": 2, "s3_get": 2, "dynamodb_write": 12}
"""Calls for one image: as above, and a transaction of six items, each of which counts twice."""


def pool_calls() -> float:
    """US dollars of calls to S3 and SQS for one image in the pool."""
    return _priced(POOL_CALLS)


def function_calls() -> float:
    """US dollars of calls to S3 and DynamoDB for one image in the Lambda function."""
    return _priced(FUNCTION_CALLS)


def sent_out(size: float) -> float:
    """US dollars for so many bytes from AWS to a device."""
    return size / 1e9 * listed()["transfer_out"]


def _priced(calls: Mapping[str, float]) -> float:
    return sum(number * listed()[call] / 1000 for call, number in calls.items())
