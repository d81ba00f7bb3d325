"""One photo as a page shows it: finished words that templates/_photo.html and static/js/card.js place. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shoal.messages import Detection, readable
from web_tier.results.batches import Photo
from web_tier.results.view import ORDERS, SHOWN, words_of
from web_tier.words import percent

QUEUED = "Queued"
CANCELLED = "cancelled"


def card(photo: Photo) -> dict[str, Any]:
    """What a page places for a photo that is not opened, as JSON types. Empty fields are left out.

    state: that of the photo, or cancelled. message: what it says instead of a label. best: the first share and its
    words. boxes: where detections are, in pixels, and their words. size: the picture's. large: whether it can be shown
    large.
    """
    shown: dict[str, Any] = {
        "index": photo.job.index,
        "name": photo.job.name,
        "state": CANCELLED if photo.is_cancelled else photo.state,
        "large": photo.stored and not photo.is_cancelled,
        "message": message(photo),
        "correction": photo.correction,
        "warnings": photo.warnings,
        **found_by(photo),
    }
    if photo.result and photo.state == "done":
        shown["model"] = photo.result.model
        shown["label"] = photo.readable
        shown["best"] = best(photo)
        shown["boxes"] = [box(one) for one in photo.result.detections]
        shown["size"] = photo.size if shown["boxes"] else None
    return {key: value for key, value in shown.items() if value or key == "index"}


def message(photo: Photo) -> str:
    """What a page says of a photo that has no label."""
    if photo.is_cancelled:
        return "Cancelled"
    if photo.state == "failed" and photo.result:
        return photo.result.error
    return "" if photo.state == "done" else QUEUED


def best(photo: Photo) -> dict[str, Any]:
    """The share of its first label, as a number and in words; empty without a label."""
    share = photo.share
    return {} if share is None else {"share": round(share, 4), "percent": percent(share)}


def box(found: Detection) -> dict[str, Any]:
    """Where an object is, in pixels (left, top, right, bottom), and what it is, in words."""
    second = [one for one in found.labels[:1] if one.name != found.name]
    inner = "".join(f", {one.readable} {percent(one.probability)}" for one in second)
    return {"at": found.box, "words": f"{readable(found.name)} {percent(found.score)}{inner}"}


def others(photo: Photo) -> Sequence[tuple[str, str]]:
    """Its labels after the first, with their shares in words."""
    return [(readable(name), percent(share)) for name, share in photo.named[1:]]


def found_by(photo: Photo) -> dict[str, Any]:
    """By what a script finds, sorts and copies a photo: the rules are those of `view`.

    show: the choices that it belongs to. sort: its key in each order, a text or a number. text: what is searched.
    line: how it is copied as text.
    """
    answer = photo.label if photo.state == "done" else f"failed: {message(photo)}" if photo.state == "failed" else ""
    return {
        "show": [key for key, (_, fits) in SHOWN.items() if fits(photo)],
        "sort": {key: order(photo) for key, (_, order) in ORDERS.items()},
        "text": "\n".join(words_of(photo)),
        "line": f"{photo.job.name}, {answer}" if answer else "",
        "can_retry": photo.can_retry,
    }
