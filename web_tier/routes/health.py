"""Health and readiness, for load balancers and start scripts."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from web_tier.access.rights import Right, needs
from web_tier.services import services

blueprint = Blueprint("health", __name__)

ANSWER_SECONDS = 1.5


@blueprint.get("/healthz")
@needs(Right.NOTHING)
def healthz() -> Response:
    """Whether the process runs."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
@needs(Right.NOTHING)
def readyz() -> tuple[Response, int]:
    """Whether the buckets and queues answer."""
    found = services().readiness.look(ANSWER_SECONDS)
    ready = all(state == "ok" for state in found.values()) and not services().hub.stopping
    return jsonify(status="ok" if ready else "not ready", checks=found), 200 if ready else 503
