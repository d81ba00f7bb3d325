"""Is the process up, and can it work: for load balancers and for whoever waits for a start."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from shoal.errors import ShoalError
from web_tier.services import services

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """The process is up."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Store and queue answer."""
    cloud = services().cloud
    checks = {
        "input bucket": lambda: next(cloud.inputs.list("-"), None),
        "output bucket": lambda: next(cloud.outputs.list("-"), None),
        "request queue": cloud.requests.depth,
        "response queue": cloud.responses.depth,
    }
    found = {}
    for name, check in checks.items():
        try:
            check()
            found[name] = "ok"
        except ShoalError as error:
            found[name] = str(error)
    ready = all(state == "ok" for state in found.values()) and not services().hub.stopping
    return jsonify(status="ok" if ready else "not ready", checks=found), 200 if ready else 503
