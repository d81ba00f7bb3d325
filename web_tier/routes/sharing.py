"""Whose a batch is: the list of one's own, and share links that can be revoked. Only where people sign in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, jsonify, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from web_tier import words
from web_tier.access import gate, person
from web_tier.access.rights import Right, needs
from web_tier.problems import wants_page
from web_tier.services import services

MOST_LISTED = 20

blueprint = Blueprint("sharing", __name__)


@blueprint.get("/batches")
@needs(Right.READ)
def own_batches_page() -> Response:
    """The newest batches of who asks."""
    listed = [_listed(batch) for batch in _own()]
    return make_response(render_template("batches.html", batches=listed, most=MOST_LISTED))


@blueprint.get("/v1/batches")
@needs(Right.READ)
def own_batches() -> Response:
    """The same for programs."""
    return jsonify(batches=[_listed(batch) for batch in _own()])


@blueprint.post("/batches/<batch>/share")
@needs(Right.LABEL)
def share(batch: str) -> BaseResponse:
    """Make a link with which everybody may look at the batch."""
    services().batches.check(batch)
    services().entrance.share(batch)
    return _told(batch)


@blueprint.post("/batches/<batch>/unshare")
@needs(Right.LABEL)
def unshare(batch: str) -> BaseResponse:
    """Revoke the link."""
    services().batches.check(batch)
    services().entrance.unshare(batch)
    return _told(batch)


blueprint.add_url_rule("/v1/batches/<batch>/share", "share", share, methods=["POST"])
blueprint.add_url_rule("/v1/batches/<batch>/unshare", "unshare", unshare, methods=["POST"])


def link(batch: str) -> str:
    """The share link of a batch; empty when it is not shared, and for those to whom it was shared."""
    if person.current() is None or gate.reads_only():
        return ""
    token = services().entrance.batches.shared(batch)
    return f"{request.host_url}batches/{batch}?{gate.SHARE}={token}" if token else ""


def _told(batch: str) -> BaseResponse:
    if wants_page():
        return redirect(url_for("pages.batch_page", batch=batch, _anchor="sharing"), 303)
    return jsonify(batch=batch, link=link(batch) or None)


def _own() -> list[str]:
    """The newest batches of who asks. Those that were deleted since are taken from the list."""
    who, batches = person.current(), services().entrance.batches
    found: list[str] = []
    for batch in reversed(batches.of(who.owner) if who else ()):
        if len(found) == MOST_LISTED:
            break
        if who and batches.owner(batch) != who.owner:
            batches.drop(batch, who.owner)
        else:
            found.append(batch)
    return found


def _listed(batch: str) -> dict[str, Any]:
    found = services().batches.listing(batch)
    total, answered = len(found.stored.keys() | found.answered.keys()), len(found.answered)
    line = f"{words.photos(total)}, {words.number(answered)} answered" if answered < total else words.photos(total)
    return {
        "batch": batch,
        "page": f"/batches/{batch}",
        "total": total,
        "answered": answered,
        "began": datetime.fromtimestamp(found.began, UTC).isoformat(timespec="seconds") if found.began else None,
        "shared": bool(services().entrance.batches.shared(batch)),
        "line": line,
    }
