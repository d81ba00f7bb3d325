"""What calls of AWS cost: prices.csv, in US dollars in us-east-1, with the date when each was noted and its source."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path

LIST = Path(__file__).with_name("prices.csv")

POOL_CALLS = {"s3_put": 2, "s3_get": 2, "sqs_request": 0.6}
"""Calls for one image: photo and result are stored and read; ten messages share each of about six calls to SQS."""

FUNCTION_CALLS = {"s3_put": 2, "s3_get": 2, "dynamodb_write": 12}
"""Calls for one image: as above, and a transaction of six items, each of which counts twice."""


@cache
def prices() -> dict[str, float]:
    """US dollars for one unit of each item."""
    with LIST.open(newline="") as file:
        return {row["item"]: float(row["usd"]) for row in csv.DictReader(file)}


@cache
def noted() -> str:
    """When the prices were noted."""
    with LIST.open(newline="") as file:
        return max(row["noted"] for row in csv.DictReader(file))


def pool_calls() -> float:
    """US dollars of calls to S3 and SQS for one image in the pool."""
    return _priced(POOL_CALLS)


def function_calls() -> float:
    """US dollars of calls to S3 and DynamoDB for one image in the Lambda function."""
    return _priced(FUNCTION_CALLS)


def _priced(calls: Mapping[str, float]) -> float:
    return sum(number * prices()[item] for item, number in calls.items())
