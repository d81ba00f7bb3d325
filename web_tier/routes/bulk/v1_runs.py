"""The API of bulk runs for programs. `schemas/runs.py` describes it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, jsonify, make_response, request

from web_tier.access.rights import Right, needs
from web_tier.bulk.beginning import check_body
from web_tier.intake import idempotency
from web_tier.intake.json_body import json_object
from web_tier.problems import Problem
from web_tier.routes.bulk import running
from web_tier.schemas.bodies import JSON, PLAIN_BYTES, takes
from web_tier.schemas.check import whole_number
from web_tier.schemas.openapi import REPLAYED
from web_tier.schemas.runs import ROWS_LIMIT
from web_tier.services import json_stream, services

blueprint = Blueprint("v1_runs", __name__)


@blueprint.before_request
def check_pool() -> None:
    """Raise Problem (404) where there are no workers."""
    running.check_pool()


@blueprint.post("/v1/runs")
@needs(Right.LABEL)
@takes({JSON: PLAIN_BYTES})
def begin() -> Response:
    """Begin a run."""
    _check_type()
    key = request.headers.get("Idempotency-Key")
    if key is not None:
        idempotency.check_key(key)
    fingerprint = f"run {idempotency.body_digest(request.environ['wsgi.input'], JSON)}"
    asked = _asked()
    run, repeated = running.begin_once(asked, key, fingerprint)
    response = _begun(run)
    if repeated:
        response.headers[REPLAYED] = "true"
    return response


@blueprint.post("/v1/forecasts")
@needs(Right.LABEL)
@takes({JSON: PLAIN_BYTES})
def expected() -> Response:
    """What a run would take and cost."""
    _check_type()
    return jsonify(asdict(running.expected(_asked())))


def _check_type() -> None:
    if request.mimetype != JSON:
        raise Problem(415, "Send what to label as application/json.")


def _asked() -> dict[str, Any]:
    asked = json_object(json_stream())
    check_body(asked)
    return asked


@blueprint.get("/v1/runs")
@needs(Right.READ)
def listed() -> Response:
    """The newest runs that the caller may see."""
    return jsonify(runs=[services().runs.looker.told(one.run.id) for one in running.newest()])


@blueprint.get("/v1/runs/<run>")
@needs(Right.READ)
def state(run: str) -> Response:
    """How far a run is."""
    return jsonify(services().runs.looker.told(run))


@blueprint.get("/v1/runs/<run>/results")
@needs(Right.READ)
def results(run: str) -> Response:
    """The rows of a run, page by page."""
    limit = whole_number("limit", request.args, ROWS_LIMIT)
    status = request.args.get("status", "")
    if status not in ("", "failed"):
        raise Problem(400, f"status={status[:40]!r}: only failed can be chosen.")
    found = services().runs.looker.run(run)
    page = services().runs.rows.page(found.id, request.args.get("cursor", ""), limit, bool(status))
    query: dict[str, Any] = {"cursor": page.following, "limit": limit} | ({"status": status} if status else {})
    following = f"/v1/runs/{run}/results?{urlencode(query)}" if page.following else None
    return jsonify(rows=[one.row.to_dict() for one in page.rows], next=following)


@blueprint.post("/v1/runs/<run>/pause")
@needs(Right.LABEL)
def pause(run: str) -> Response:
    """Let a run rest."""
    return _steered(run, "pause")


@blueprint.post("/v1/runs/<run>/resume")
@needs(Right.LABEL)
def resume(run: str) -> Response:
    """Let a run go on."""
    return _steered(run, "resume")


@blueprint.post("/v1/runs/<run>/cancel")
@needs(Right.LABEL)
def cancel(run: str) -> Response:
    """End a run."""
    return _steered(run, "cancel")


@blueprint.post("/v1/runs/<run>/retry-failed")
@needs(Right.LABEL)
def retry_failed(run: str) -> Response:
    """Begin a run for the photos that failed."""
    return _begun(running.again(run))


def _steered(run: str, verb: str) -> Response:
    running.steer(run, verb)
    return jsonify(services().runs.looker.told(run))


def _begun(run: str) -> Response:
    response = make_response(services().runs.looker.told(run), 201)
    response.headers["Location"] = f"/v1/runs/{run}"
    return response
