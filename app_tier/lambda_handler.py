"""The Lambda function: labels the photos that events of S3 announce. A warm container keeps the model."""

from __future__ import annotations

import sys
from functools import cache
from types import ModuleType
from typing import Any, cast

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
    # A function converts no models. Without its converter OpenVINO is imported in two thirds of the time.
    sys.modules.setdefault("openvino.tools.ovc", cast(ModuleType, None))
    recogniser = process.load(
        chosen.served_models,
        chosen.engine,
        chosen.cache_dir,
        chosen.model_weights,
        max_pixels=chosen.max_pixels,
        max_bytes=chosen.max_file_bytes,
        precision=chosen.precision,
    )
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
