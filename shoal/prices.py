"""What an instance costs."""

from __future__ import annotations

from shoal.settings import Settings

# US dollars an hour, Linux, on demand, in us-east-1, as AWS listed them in 2025. Others: SHOAL_PRICE_PER_HOUR.
PRICES = {
    "t3.micro": 0.0104,
    "t3.small": 0.0208,
    "t3.medium": 0.0416,
    "t3.large": 0.0832,
    "t3.xlarge": 0.1664,
    "t3.2xlarge": 0.3328,
    "m5.large": 0.096,
    "m5.xlarge": 0.192,
    "m6i.large": 0.096,
    "m6i.xlarge": 0.192,
    "c5.large": 0.085,
    "c5.xlarge": 0.17,
    "c6i.large": 0.085,
    "c6i.xlarge": 0.17,
}


def price_per_hour(settings: Settings) -> float | None:
    """What one instance costs an hour: SHOAL_PRICE_PER_HOUR, or what is known of the dearest of its types; None where
    nothing is known of one of them."""
    if settings.price_per_hour:
        return settings.price_per_hour
    prices = [PRICES.get(kind) for kind in settings.instance_types]
    known = [price for price in prices if price is not None]
    return max(known) if known and len(known) == len(prices) else None
