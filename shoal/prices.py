"""What an instance costs: SHOAL_PRICE_PER_HOUR, or the price of its type in prices.csv.

The list has US dollars an hour in us-east-1, Linux, on demand; when each was noted, and its source. "unverified" as the
source means that the price was written down without a price list at hand.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from shoal.settings import Settings

DIGITS = 1  # significant digits of a small amount: more would promise too much
CENT = 0.01
LEAST_BILLED_SECONDS = 60.0  # of an instance: EC2 bills by the second, and a minute at least
# AWS Lambda on x86 in us-east-1, first tier, without the free tier, in US dollars.
FUNCTION_GB_SECOND = 0.0000166667
FUNCTION_MILLION_CALLS = 0.20
PROCESSOR_MB = 1769  # of memory: with so much a function has one virtual processor, with half of it half a one
BESIDE_SECONDS = 0.05  # of a function for a photo: fetch the photo, store the result, write the tables
FUNCTION_NOTED = "2025"
FUNCTION_SOURCE = "aws.amazon.com/lambda/pricing, unverified"
LIST = Path(__file__).with_name("prices.csv")


@dataclass(frozen=True, slots=True)
class Price:
    """The price of an instance type in US dollars; `source` is an address or "unverified"."""

    per_hour: float
    noted: str
    source: str


@cache
def listed() -> dict[str, Price]:
    """The prices in the list, by instance type."""
    with LIST.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["type"]: Price(float(row["usd_per_hour"]), row["noted"], row["source"]) for row in rows}


def price_per_hour(settings: Settings) -> float | None:
    """What one instance costs an hour: SHOAL_PRICE_PER_HOUR, or the listed price of the dearest of its types.

    Returns None where the price of one type is unknown: the cost would be too low.
    """
    if settings.price_per_hour:
        return settings.price_per_hour
    return None if unknown_types(settings) else listed()[_dearest(settings)].per_hour


def unknown_types(settings: Settings) -> tuple[str, ...]:
    """The instance types without a price; empty with SHOAL_PRICE_PER_HOUR."""
    if settings.price_per_hour:
        return ()
    return tuple(kind for kind in settings.instance_types if kind not in listed())


def price_in_words(settings: Settings) -> str:
    """The price of an instance and where it comes from, or which types have none and what to do."""
    if unknown := unknown_types(settings):
        return f"no price is known for {', '.join(unknown)}: correct SHOAL_INSTANCE_TYPE, or set SHOAL_PRICE_PER_HOUR"
    if settings.price_per_hour:
        return f"${settings.price_per_hour:g} an hour for each instance"
    dearest = _dearest(settings)
    price = listed()[dearest]
    listing = f"{dearest} in us-east-1, noted {price.noted}, {price.source}"
    words = f"${price.per_hour:g} an hour for each instance ({listing})"
    return f"nothing on this machine; would cost {words}" if _is_free(settings) else words


def cost_in_words(settings: Settings, amount: str) -> str:
    """An amount of money as the cost of instances: itself, or what it would be if they were not on this machine."""
    return f"would cost {amount} on {_dearest(settings)}" if _is_free(settings) else amount


def cost_title(settings: Settings) -> str:
    """What a cost of instances is called: on one's own machine it is what they would cost."""
    return f"Would cost on {_dearest(settings)}" if _is_free(settings) else "Cost"


def function_cost(memory_mb: int, seconds: float, calls: int) -> float:
    """What a Lambda function costs in US dollars: its GB-seconds and its calls. seconds: of all calls together."""
    return memory_mb / 1024 * seconds * FUNCTION_GB_SECOND + calls * FUNCTION_MILLION_CALLS / 1e6


def billed_seconds(settings: Settings, labelling: float) -> float:
    """The seconds of the Lambda function that a photo costs. labelling: decoding and inference, as measured.

    Modelled where the embedded cloud measured it: that gives a function whole processors, AWS a share with its memory.
    """
    slower = slower_with_little_memory(settings.lambda_memory_mb) if settings.emulated else 1.0
    return (labelling + BESIDE_SECONDS) * slower


def slower_with_little_memory(memory_mb: int) -> float:
    """How many times as long a function takes on AWS as on a whole processor, which the embedded cloud gives it."""
    return max(1.0, PROCESSOR_MB / memory_mb)


def function_price_in_words(settings: Settings) -> str:
    """The price of the Lambda function and where it comes from."""
    second = function_cost(settings.lambda_memory_mb, 1000.0, 1000)
    words = f"{dollars(second)} for 1,000 photos of one second each with {settings.lambda_memory_mb} MB"
    words += f" (noted {FUNCTION_NOTED}, {FUNCTION_SOURCE})"
    return f"nothing on this machine; would cost {words}" if _is_free(settings) else words


def dollars(amount: float, digits: int = DIGITS) -> str:
    """An amount in US dollars; a small one with its first `digits` alone: $0.00002, $0.31, $12.40."""
    rounded = _rounded(amount, digits)
    if rounded >= 0.1 or rounded <= 0:
        return f"${amount:.2f}"
    places = -math.floor(math.log10(rounded)) + digits - 1
    return f"${rounded:.{places}f}"


def _rounded(amount: float, digits: int) -> float:
    """The amount to its first `digits`, before its places are counted: rounding may reach the next ten."""
    return float(f"{amount:.{digits - 1}e}")


def roughly(amount: float) -> str:
    """An amount in US dollars for people who care for cents: `under a cent`, else as `dollars`."""
    return "under a cent" if 0 < _rounded(amount, 2) < CENT else dollars(amount)


def comparably(amount: float, about: bool = False) -> str:
    """As `roughly`, with two digits of what is under a cent: two such amounts can be compared.

    about: the amount is not known exactly yet, and the words say so.
    """
    words, exactness = roughly(amount), "about " if about else ""
    return f"{exactness}{words}" if words.startswith("$") else f"{words} ({exactness}{dollars(amount, 2)})"


def _is_free(settings: Settings) -> bool:
    return settings.emulated and not settings.price_per_hour


def _dearest(settings: Settings) -> str:
    """The dearest of the instance types, whose prices must all be known."""
    return max(settings.instance_types, key=lambda kind: listed()[kind].per_hour)
