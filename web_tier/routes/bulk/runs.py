"""The pages of bulk runs: all of them, and one with its progress, its newest labels and what failed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from inference import images
from runs.forecast import Forecast
from runs.progress import GOES_ON, RunProgress
from runs.rows import BulkRow
from runs.run import FAILED_OF, S3, Run
from shoal.errors import BadImage, NotFound, Permanent
from shoal.messages import readable
from web_tier.access.rights import Right, needs
from web_tier.bulk.allowed import address_of
from web_tier.bulk.beginning import check_body
from web_tier.bulk.rows import PlacedRow
from web_tier.problems import Problem
from web_tier.routes.api import NO_THUMBNAIL, THUMBNAIL_CACHE, THUMBNAIL_PIXELS
from web_tier.routes.bulk import running
from web_tier.services import services
from web_tier.thumbnail_gate import Busy
from web_tier.watching.plots import Plot, plot
from web_tier.words import duration, percent, size

blueprint = Blueprint("runs", __name__)

PERCENT = 100.0
NUMBERS = ("limit", "top")
EXPECT = "expect"


@blueprint.before_request
def check_pool() -> None:
    """Raise Problem (404) where there are no workers."""
    running.check_pool()


@blueprint.get("/runs")
@needs(Right.READ)
def runs_page() -> Response:
    """The newest runs, and the form that begins one. With `expect` in the query what its run would take and cost."""
    if EXPECT not in request.args:
        return _runs_page()
    asked = _asked()
    asked.pop(EXPECT)
    try:
        check_body(asked)
        return _runs_page(expected=running.expected(asked))
    except Problem as problem:
        if problem.status not in (400, 403):
            raise
        return _runs_page(str(problem), problem.status)


@blueprint.post("/runs")
@needs(Right.LABEL)
def begin() -> BaseResponse:
    """Begin a run from the form."""
    asked = _asked()
    try:
        check_body(asked)
        run, _ = running.begin_once(asked, None, "")
    except Problem as problem:
        if problem.status not in (400, 403):
            raise
        return _runs_page(str(problem), problem.status)
    return redirect(url_for("runs.run_page", run=run), 303)


@blueprint.get("/runs/<run>")
@needs(Right.READ)
def run_page(run: str) -> Response:
    """One run; the page's script asks again every other second."""
    looker, shown = services().runs.looker, services().runs.shown
    progress = looker.progress(run)
    page = render_template(
        "run.html",
        run=progress.run,
        told=looker.told(run),
        progress=progress,
        goes_on=progress.state in GOES_ON,
        plot=_plot(progress),
        newest=[_shown(progress.run, one) for one in shown.newest(progress)],
        failed=shown.failed(progress) if progress.failed else (),
        again=progress.run.source.removeprefix(FAILED_OF) if progress.run.source.startswith(FAILED_OF) else "",
        from_folder=not progress.run.target.startswith(S3),
    )
    response = make_response(page)
    response.headers["X-Robots-Tag"] = "noindex"
    return response


@blueprint.get("/runs/<run>/labels.jsonl")
@needs(Right.READ)
def labels(run: str) -> Response:
    """All rows until now, as lines of JSON. They are read shard by shard, while the client takes them."""
    found = services().runs.looker.run(run)
    none = request.method == "HEAD"
    body = () if none else services().runs.downloads.hold(services().runs.rows.lines(found.id))
    response = Response(body, mimetype="application/x-ndjson")
    response.headers["Content-Disposition"] = f'attachment; filename="labels-{found.id}.jsonl"'
    return response


@blueprint.get("/runs/<run>/photos/<int:shard>/<int:line>/thumbnail")
@needs(Right.READ)
def thumbnail(run: str, shard: int, line: int) -> Response:
    """A small picture of a photo, where this process may read it; else a grey one with status 404."""
    found = services().runs.looker.run(run)
    row = services().runs.rows.row(found.id, shard, line)
    if row is None or not _may_read(found, row):
        return _no_thumbnail(404)
    try:
        picture = _shrunk(found, row)
    except Busy:
        return _no_thumbnail(503)
    except (BadImage, NotFound, Permanent):  # also if it was overwritten, or this process may not read it
        return _no_thumbnail(404)
    return make_response(picture, 200, {"Content-Type": "image/jpeg", "Cache-Control": THUMBNAIL_CACHE})


@blueprint.post("/runs/<run>/pause")
@needs(Right.LABEL)
def pause(run: str) -> BaseResponse:
    """Let a run rest."""
    return _steered(run, "pause")


@blueprint.post("/runs/<run>/resume")
@needs(Right.LABEL)
def resume(run: str) -> BaseResponse:
    """Let a run go on."""
    return _steered(run, "resume")


@blueprint.post("/runs/<run>/cancel")
@needs(Right.LABEL)
def cancel(run: str) -> BaseResponse:
    """End a run."""
    return _steered(run, "cancel")


@blueprint.post("/runs/<run>/retry-failed")
@needs(Right.LABEL)
def retry_failed(run: str) -> BaseResponse:
    """Begin a run for the photos that failed."""
    return redirect(url_for("runs.run_page", run=running.again(run)), 303)


def link_to_runs(person: Any) -> bool:
    """Whether pages lead to the runs: where some may be begun, or some are there. person: who asks, if known."""
    ours = services()
    if not ours.has_pool or (ours.entrance.signs_in and not (person and person.may(Right.READ))):
        return False
    if ours.runs.allowed.sources:
        return True
    return ours.runs.looker.exist() and (not ours.entrance.signs_in or bool(person.may(Right.OPERATE)))


def _runs_page(refused: str = "", status: int = 200, expected: Forecast | None = None) -> Response:
    allowed = services().runs.allowed
    page = render_template(
        "runs.html",
        runs=running.newest(),
        sources=[address_of(place) for place in allowed.sources],
        targets=[address_of(place) for place in allowed.targets],
        webhooks=bool(services().settings.webhook_keys),
        refused=refused,
        expected=expected,
        asked=request.values if refused or expected else {},
    )
    return make_response(page, status)


def _asked() -> dict[str, Any]:
    """The form as the body of a request to the API. What is no number stays a text, and is refused as such."""
    given = {name: text.strip() for name, text in request.values.items()}
    asked: dict[str, Any] = {name: text for name, text in given.items() if text}
    if "not_if_done" in asked:
        asked["not_if_done"] = True
    for name in NUMBERS:
        if re.fullmatch(r"[0-9]{1,10}", asked.get(name, "")):
            asked[name] = int(asked[name])
    if re.fullmatch(r"[0-9]{1,3}%?", asked.get("fail_above", "")):
        asked["fail_above"] = int(asked["fail_above"].removesuffix("%")) / PERCENT
    return asked


def _steered(run: str, verb: str) -> BaseResponse:
    running.steer(run, verb)
    return redirect(url_for("runs.run_page", run=run), 303)


def _plot(progress: RunProgress) -> Plot:
    """Photos done over time; until now while it goes on."""
    begin = progress.began
    end = progress.curve[-1][0]
    if progress.state in GOES_ON:
        end = max(end, services().clock.now())
    points = [*progress.curve, (end, progress.done)]
    return plot("Photos done", begin, max(end, begin + 1.0), {"done": points})


def _shown(run: Run, one: PlacedRow) -> dict[str, Any]:
    """What the page shows of a row."""
    result = one.row.result
    first = result.labels[0] if result.labels else None
    return {
        "key": one.row.entry.key,
        "failed": one.row.failed,
        "label": readable(result.label) if result.label else ("" if one.row.failed else "nothing found"),
        "share": first.probability if first else None,
        "error": result.error,
        "thumbnail": f"/runs/{run.id}/photos/{one.shard}/{one.line}/thumbnail" if _may_read(run, one.row) else "",
    }


def _may_read(run: Run, row: BulkRow) -> bool:
    """Whether pages show the photo: it is in a source that the operator allows, or a client stored it for this run."""
    bucket, key = row.entry.bucket or run.bucket, row.entry.object_key
    own = bucket == services().settings.in_bucket and key.startswith("runs/")
    return (own or services().runs.allowed.may_read(bucket, key)) and (
        row.entry.size <= services().settings.max_file_bytes
    )


def _shrunk(run: Run, row: BulkRow) -> bytes:
    gate = services().thumbnails
    with gate.admitted():
        bucket = services().cloud.buckets[row.entry.bucket or run.bucket]
        payload = bucket.get_unchanged(row.entry.object_key, row.entry.etag)
        with gate.turn():
            return images.thumbnail(payload, THUMBNAIL_PIXELS, services().settings.max_pixels)


def _no_thumbnail(status: int) -> Response:
    return make_response(NO_THUMBNAIL, status, {"Content-Type": "image/svg+xml", "Cache-Control": "no-store"})


@blueprint.app_template_filter("day")
def day(at: float) -> str:
    """A day and a time (UTC) of seconds since 1970."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


blueprint.add_app_template_filter(duration, "span")
blueprint.add_app_template_filter(percent)
blueprint.add_app_template_filter(size, "bytes")
