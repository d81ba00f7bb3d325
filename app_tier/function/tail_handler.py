"""The Lambda function that runs tails: an activation comes by HTTPS, its labels go back. A warm container keeps tails.

It has no rights but to write its log, and stores nothing.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from app_tier.function.tail_endpoint import TailEndpoint
from inference import process
from inference.process import Recogniser
from shoal import logs, settings


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Answer a call; see `TailEndpoint.answer`."""
    return _endpoint().answer(event)


@cache
def _endpoint() -> TailEndpoint:
    chosen = settings.load()
    logs.configure(chosen.log_level)
    process.without_converter()

    def load(tail: str) -> Recogniser:
        return process.load(
            [tail],
            chosen.engine,
            chosen.cache_dir,
            None,
            max_pixels=chosen.max_pixels,
            max_bytes=chosen.max_file_bytes,
            precision=chosen.precision,
        )

    return TailEndpoint(load, chosen.served_tails, chosen.tail_function)
