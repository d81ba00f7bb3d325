"""Numbers to Amazon CloudWatch with PutMetricData."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shoal.aws.clients import our_errors

NAMESPACE = "Shoal"


class PutMetrics:
    """Publishes values by name, in one call. The dimension Pool names the Shoal.

    cloudwatch: makes the client, at the first use.
    units:      the unit of each value that is not a count.
    """

    def __init__(self, cloudwatch: Callable[[], Any], pool: str, units: Mapping[str, str]) -> None:
        self._make_client = cloudwatch
        self._pool = pool
        self._units = units

    def __call__(self, values: Mapping[str, float]) -> None:
        dimensions = [{"Name": "Pool", "Value": self._pool}]
        data = [
            {"MetricName": name, "Dimensions": dimensions, "Value": value, "Unit": self._units.get(name, "Count")}
            for name, value in values.items()
        ]
        with our_errors("put metrics"):
            self._make_client().put_metric_data(Namespace=NAMESPACE, MetricData=data)
