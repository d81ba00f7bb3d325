"""Is the process up, and can it work: for load balancers and for whoever waits for a start."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from web_tier.services import services

blueprint = Blueprint("health", __name__)

ANSWER_SECONDS = 1.5


@blueprint.get("/healthz")
def healthz() -> Response:
    """The process is up."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Store and queue answer."""
    found = services().readiness.look(ANSWER_SECONDS)
    ready = all(state == "ok" for state in found.values()) and not services().hub.stopping
    return jsonify(status="ok" if ready else "not ready", checks=found), 200 if ready else 503
