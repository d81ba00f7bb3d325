"""What a deployment costs: a month at rest, and for each 1,000 images. US dollars, us-east-1, without free tiers.

The prices are those of service_prices, each with its date and its source.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from shoal import prices
from shoal.deployment import service_prices
from shoal.deployment.choices import Choices
from shoal.settings import Settings

HOURS = 730  # of a month
MONTH_SECONDS = HOURS * 3600
PAGE_DISK_GB = 10
IMAGE_GB = 4
PHOTO_BYTES = 2_000_000
METRICS = 15  # of the controller, once a minute
LEASE_WRITES_PER_SECOND = 0.3
IMAGES_PER_SECOND = 30.0  # of one worker, where nothing was measured: c7i.large with int8


@dataclass(frozen=True, slots=True)
class CostLine:
    """One part of the cost. dollars: None where no price is known."""

    what: str
    dollars: float | None


def noted() -> str:
    """When the prices were noted, and how sure they are."""
    return f"prices of us-east-1, noted {service_prices.noted()}, unverified: look up today's"


def at_rest(settings: Settings, choices: Choices, made: Collection[str]) -> list[CostLine]:
    """What a month costs in which no photo comes. made: the resources of the template, by name."""
    price, lines = service_prices.listed(), []
    if "WebInstance" in made:
        hourly = prices.listed().get(choices.page_type)
        lines += [
            CostLine(f"the page's instance, {choices.page_type}", hourly.per_hour * HOURS if hourly else None),
            CostLine(f"its disk, {PAGE_DISK_GB} GB", price["disk"] * PAGE_DISK_GB),
            CostLine("its public address", price["address"] * HOURS),
        ]
    if "Balancer" in made:
        lines += [
            CostLine("the load balancer", price["balancer"] * HOURS),
            CostLine("its two public addresses", price["address"] * HOURS * 2),
        ]
    if "SqsEndpoint" in made:
        lines.append(CostLine("the interface to SQS, in two zones", price["endpoint"] * HOURS * 2))
    lines += _controller(settings) if "WebInstance" in made else []
    alarms = sum(name in made for name in ("PhotosWaitLong", "DeadLettersStay", "NoControllerTick", "WorkersCostMuch"))
    lines += [
        CostLine(f"{alarms} alarms and a dashboard", price["alarm"] * alarms + price["dashboard"]),
        CostLine(f"the workers' image, {IMAGE_GB} GB", price["image"] * IMAGE_GB),
    ]
    if settings.min_instances:
        hour = prices.price_per_hour(settings)
        dollars = hour * HOURS * settings.min_instances if hour else None
        lines.append(CostLine(f"{settings.min_instances} workers that always run", dollars))
    return lines


def _controller(settings: Settings) -> list[CostLine]:
    price = service_prices.listed()
    looks = MONTH_SECONDS / settings.tick_seconds / 1000 * price["sqs_call"]
    lease = MONTH_SECONDS * LEASE_WRITES_PER_SECOND / 1000 * price["dynamodb_write"]
    numbers = METRICS * price["metric"] + MONTH_SECONDS / 60 / 1000 * price["metric_call"]
    return [
        CostLine(f"the controller's looks at the queue, each {settings.tick_seconds:g} s", looks),
        CostLine("its lease", lease),
        CostLine(f"its {METRICS} numbers in CloudWatch", numbers),
    ]


def per_thousand(settings: Settings, images_per_second: float = IMAGES_PER_SECOND) -> list[CostLine]:
    """What 1,000 images cost. images_per_second: of one busy worker."""
    price, hour = service_prices.listed(), prices.price_per_hour(settings)
    kind = settings.instance_types[0]
    seconds = 1000 / images_per_second
    return [
        CostLine(f"workers, {kind} at {images_per_second:g} images/s", None if hour is None else hour * seconds / 3600),
        CostLine("S3: two PUTs and two GETs for each", 2 * price["s3_put"] + 2 * price["s3_get"]),
        CostLine("SQS, ten messages a call", price["sqs_call"]),
        CostLine(
            f"a month of keeping them, {PHOTO_BYTES / 1e6:g} MB each", price["s3_storage"] * 1000 * PHOTO_BYTES / 1e9
        ),
    ]


def total(lines: list[CostLine]) -> float:
    """The sum of what has a price."""
    return sum(line.dollars or 0.0 for line in lines)


def for_images(settings: Settings, choices: Choices, made: Collection[str], images: int, rate: float) -> float:
    """What a month with so many images costs. rate: images/s of one busy worker."""
    return total(at_rest(settings, choices, made)) + total(per_thousand(settings, rate)) * images / 1000
