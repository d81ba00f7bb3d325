"""The pages that a browser shows, with and without JavaScript."""

from __future__ import annotations

from dataclasses import replace

from flask import Blueprint, Response, make_response, redirect, render_template, url_for
from werkzeug.wrappers import Response as BaseResponse

from shoal.messages import new_batch
from web_tier import compat
from web_tier.batches import Batch
from web_tier.hub import PoolState
from web_tier.intake import megabytes
from web_tier.problems import Problem, wants_page
from web_tier.services import form, services

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def upload_page() -> Response:
    """Where photos are chosen."""
    return _upload_page()


@blueprint.post("/")
def upload() -> BaseResponse:
    """Photos from a plain form, or from a program that waits for the labels."""
    return _from_form() if wants_page() else compat.label()


def _from_form() -> BaseResponse:
    batch = new_batch(services().clock.now())
    try:
        services().intake.take(form(), batch)
    except Problem as problem:
        if problem.status != 400:
            raise
        return _upload_page(str(problem), 400)
    return redirect(url_for("pages.batch_page", batch=batch), 303)


@blueprint.get("/batches/<batch>")
def batch_page(batch: str) -> Response:
    """A batch, read from the buckets."""
    found = services().batches.read(batch)
    pool = None if found.finished else services().gauge.read()
    page = render_template("batch.html", batch=found, status=status_line(found, pool), pool=pool)
    response = make_response(page)
    # What nobody can guess must not turn up in a search engine either.
    response.headers["X-Robots-Tag"] = "noindex"
    return response


@blueprint.post("/batches/<batch>/retry")
def retry(batch: str) -> BaseResponse:
    """Label the failed photos of a batch once more."""
    found = services().batches.read(batch)
    failed = [photo for photo in found.photos if photo.can_retry]
    jobs = [replace(photo.job, reply_to=services().replies.name) for photo in failed]
    for photo in failed:
        services().batches.reopen(photo)
    for job in jobs:
        services().hub.added(job)
    services().venue.again(jobs)
    if wants_page():
        return redirect(url_for("pages.batch_page", batch=batch), 303)
    return make_response({"retried": len(jobs)})


def status_line(batch: Batch, pool: PoolState | None) -> str:
    """What goes on, in one sentence. The page's script says the same in the same words."""
    if not batch.total:
        return "Waiting for photos"
    open_photos = batch.count("queued")
    if not open_photos:
        failed = batch.count("failed")
        tail = f", {failed} of them failed" if failed else ""
        return f"Done: {photos(batch.total)} in {duration(batch.seconds)}{tail}"
    if pool is None:
        return f"Labelling: {batch.total - open_photos} of {batch.total}"
    if pool.running + pool.draining:
        workers = pool.running + pool.draining
        return f"Labelling: {batch.total - open_photos} of {batch.total}, {workers} {plural(workers, 'worker')}"
    if pool.pending:
        return f"Waiting for a worker: {pool.pending} {'is' if pool.pending == 1 else 'are'} starting"
    return "Waiting for a worker: none is running yet"


def photos(count: int) -> str:
    """`1 photo`, `2,000 photos`."""
    return f"{count:,} {plural(count, 'photo')}"


def plural(count: int, word: str) -> str:
    """The word's form for a count."""
    return word if count == 1 else f"{word}s"


def duration(seconds: float) -> str:
    """A duration for a person."""
    if seconds < 1:
        return "less than a second"
    if seconds < 90:
        return f"{round(seconds)} s"
    return f"{round(seconds / 60)} min"


def _upload_page(error: str = "", status: int = 200) -> Response:
    limit = services().settings.max_file_bytes
    page = render_template("upload.html", error=error, limit=megabytes(limit), limit_bytes=limit)
    return make_response(page, status)
