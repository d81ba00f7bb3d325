"""What the command and the API ask alike before a run: how long, how much, and whether its buckets are there."""

from __future__ import annotations

import re

from runs.run import S3, split_address
from shoal import ledger_file
from shoal.errors import BucketMissing, NotFound, Permanent
from shoal.ports import Cloud
from shoal.prices import price_per_hour
from shoal.settings import Settings

TIME_PATTERN = "^[0-9]{1,4}[mhd]$"
_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str) -> float:
    """A time such as 30m, 6h or 2d in seconds. Raises Permanent."""
    if not re.fullmatch(TIME_PATTERN[1:-1], text):
        raise Permanent(f"{text!r} is not a time like 30m, 6h or 2d")
    return int(text[:-1]) * _UNITS[text[-1]]


def service_seconds(chosen: Settings) -> float:
    """Seconds of a worker's time for a photo: as the controller measured it last, or as it is set."""
    path = chosen.state_dir / ledger_file.NAME
    last = ledger_file.last_acting(path) if path.exists() else None
    return (last and (last.alone_seconds or last.service_seconds)) or chosen.expected_service_seconds


def worker_price(chosen: Settings) -> float:
    """Dollars an hour of a worker; 0 when it costs nothing or is not known."""
    return 0.0 if chosen.emulated and not chosen.price_per_hour else price_per_hour(chosen) or 0.0


def check_bucket(cloud: Cloud, address: str) -> None:
    """Raise NotFound, in words, when the bucket of an address is not there; Permanent when it may not be listed."""
    if address.startswith(S3):
        bucket, prefix = split_address(address)
        try:
            next(iter(cloud.buckets[bucket].list(prefix, most=1)), None)
        except (BucketMissing, NotFound):
            raise NotFound(f"there is no bucket {bucket}") from None
