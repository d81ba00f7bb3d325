"""The page that compares the venues, for the operator. It is below /fleet, for the operator's cookie is sent there."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, jsonify, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from comparison import tables
from comparison.outcome import Outcome
from inference import images
from shoal.deployment.service_prices import noted
from shoal.errors import BadImage
from shoal.folders import folder
from shoal.lifecycle import peak_bytes
from shoal.messages import safe_name
from web_tier.access.rights import Right, needs
from web_tier.comparisons import drawn
from web_tier.comparisons.runner import MOST_IMAGES_A_DAY, MOST_PHOTOS, MOST_ROUNDS, ComparisonState
from web_tier.examples import find_examples
from web_tier.intake.offers import FIELDS
from web_tier.problems import Problem
from web_tier.routes import operator
from web_tier.routes.device import fetched_bytes
from web_tier.schemas.bodies import FORM, takes
from web_tier.services import services

FORM_BYTES = 256 * 1024**2  # all photos of a comparison together
EXAMPLES = folder("static") / "examples"

blueprint = Blueprint("compare", __name__)


@blueprint.get("/compare")
@needs(Right.OPERATE)
def short_address() -> BaseResponse:
    """The address that people type."""
    return redirect(url_for("compare.compare_page"))


@blueprint.get("/fleet/compare")
@needs(Right.OPERATE)
def compare_page() -> Response:
    """The comparison that runs, or what the last one found."""
    return _page()


@blueprint.get("/venues.json")
@needs(Right.SIGNED_IN)
def venues_json() -> Response:
    """The venues that a request may name, the usual one first, and the most memory that a process of each has held.

    Also the tails that activations may be sent to, and the bytes that a browser fetches to label by itself; 0 where
    that is not prepared.
    """
    peaks = {"local": peak_bytes()}
    if services().has_pool:
        peaks["pool"] = services().reporter.read().worker_peak_bytes
    told = [{"name": one, "peak_bytes": peaks.get(one) or None} for one in services().venues.names]
    return jsonify(venues=told, tails=services().settings.served_tails, browser_bytes=fetched_bytes())


def _page(refused: str = "", status: int = 200) -> Response:
    """The page; `refused` says why no comparison was started."""
    comparisons = services().comparisons
    state = comparisons.state
    found = state.outcome
    page = render_template(
        "compare.html",
        now=state,
        venues=comparisons.venues,
        signed_in=operator.signed_in(),
        token=operator.token(),
        refused=refused or state.error,
        most_photos=MOST_PHOTOS,
        numbers=[
            ("Rounds", "rounds", MOST_ROUNDS, MOST_ROUNDS),
            ("Images a day, for the costs", "images_a_day", MOST_IMAGES_A_DAY, found.volume if found else 1000),
        ],
        notes=_notes(state) if found else [],
        tables=[tables.summary(found.rows, found.costs, found.volume), tables.times(found.rows)] if found else [],
        bars=drawn.bars(found.rows) if found else [],
        months=drawn.months(found.costs, found.volume) if found and found.costs else None,
    )
    return make_response(page, status)


def _notes(state: ComparisonState) -> list[str]:
    """What must be known to read the figures."""
    notes = [
        f"Costs are modelled, with prices noted in {noted()}; the rest is measured, on this machine's own network."
    ]
    if state.outcome:
        notes += state.outcome.notes
        if state.outcome.interrupted:
            notes.append("It was stopped before its end.")
    if state.left_out:
        notes.append(f"Left out, for they cannot be resized: {', '.join(state.left_out)}")
    return notes


@blueprint.post("/fleet/compare")
@needs(Right.OPERATE)
@takes({FORM: FORM_BYTES})
def begin() -> BaseResponse:
    """Start a comparison; 400 or 409 and the reason when it is refused."""
    operator.check_operator()
    try:
        rounds, volume = _whole("rounds", MOST_ROUNDS), _whole("images_a_day", MOST_IMAGES_A_DAY)
        services().comparisons.begin(_stored, rounds, volume)
    except Problem as problem:
        return _page(str(problem), problem.status)
    return redirect(url_for("compare.compare_page"), 303)


@blueprint.post("/fleet/compare/stop")
@needs(Right.OPERATE)
def stop() -> BaseResponse:
    """End the comparison that runs, and keep what was measured."""
    operator.check_operator()
    services().comparisons.stop()
    return redirect(url_for("compare.compare_page"), 303)


@blueprint.get("/fleet/compare.json")
@needs(Right.OPERATE)
def compare_json() -> Response:
    """All figures of the last comparison."""
    return jsonify(_outcome().to_dict())


@blueprint.get("/fleet/compare.csv")
@needs(Right.OPERATE)
def compare_csv() -> Response:
    """The last comparison, a line for each lane."""
    response = Response(_outcome().to_csv(), mimetype="text/csv")
    response.headers["Content-Disposition"] = 'attachment; filename="shoal-compare.csv"'
    return response


def _outcome() -> Outcome:
    """What the last comparison found. Raises Problem (404)."""
    found = services().comparisons.state.outcome
    if found is None:
        raise Problem(404, "Nothing has been compared since this server started.")
    return found


def _stored(place: Path) -> list[Path]:
    """The photos of the current form, stored in `place`; without any, the examples. Raises Problem (400)."""
    settings = services().settings
    files = [file for field in FIELDS for file in request.files.getlist(field) if file.filename]
    if not files:
        return _examples()
    if len(files) > MOST_PHOTOS:
        raise Problem(400, f"These are {len(files)} photos; at most {MOST_PHOTOS} are compared.")
    stored = []
    for number, file in enumerate(files):
        name = safe_name(file.filename or "")
        try:
            images.inspect(file.stream, settings.max_file_bytes, settings.max_pixels)  # type: ignore[arg-type]
        except BadImage as error:
            raise Problem(400, f"{name}: {error}.") from None
        path = place / str(number) / name
        path.parent.mkdir()
        file.save(path)
        stored.append(path)
    return stored


def _examples() -> list[Path]:
    """The example photos. Raises Problem (400) when there is none."""
    found = [EXAMPLES / one.file for one in find_examples(EXAMPLES)]
    if not found:
        raise Problem(400, "No photo was chosen, and this server has no examples.")
    return found


def _whole(name: str, most: int) -> int:
    """A whole number of the current form. Raises Problem (400)."""
    text = request.form.get(name, "")
    if text.isdecimal() and len(text) < 12 and 0 < int(text) <= most:
        return int(text)
    raise Problem(400, f"{name}: expected a whole number from 1 to {most:,}.")
