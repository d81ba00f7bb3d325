"""The Lambda function: labels the photos that events of S3 announce. A warm container keeps the model."""

from __future__ import annotations

from functools import cache
from typing import Any

from app_tier.function.event_labeller import EventLabeller
from inference import process
from shoal import aws, logs, settings


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Handle an event; see `EventLabeller.handle`. An exception lets Lambda deliver the event again."""
    return _labeller().handle(event)


@cache
def _labeller() -> EventLabeller:
    """Made at the first event. A failed attempt is not kept."""
    chosen = settings.load()
    logs.configure(chosen.log_level)
    process.without_converter()
    recogniser = process.load_as_set(chosen)
    cloud = aws.connect(chosen)
    return EventLabeller(
        recogniser,
        chosen.in_bucket,
        cloud.inputs,
        cloud.outputs,
        aws.label_tables(chosen),
        chosen.lambda_prefix,
        chosen.max_file_bytes,
        chosen.function,
    )
