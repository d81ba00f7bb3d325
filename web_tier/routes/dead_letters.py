"""The page of the dead letters: each with its cause, to be sent to the workers again or deleted, one or all."""

from __future__ import annotations

import logging

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from shoal import dead_letters
from shoal.buckets import foreign_messages
from web_tier.access.rights import Right, needs
from web_tier.problems import Problem
from web_tier.routes import operator
from web_tier.services import services

log = logging.getLogger(__name__)

blueprint = Blueprint("dead_letters", __name__)

MOST = 50  # on the page: each takes a few calls to the bucket


@blueprint.get("/fleet/dead-letters")
@needs(Right.OPERATE)
def dead_letters_page() -> BaseResponse | str:
    """The oldest dead letters. Their texts are whatever somebody has sent, so each is shown on one line and escaped."""
    _check_pool()
    if not operator.signed_in():
        return redirect(url_for("fleet.sign_in_page"), 303)
    cloud = services().cloud
    letters = dead_letters.look(cloud, MOST)
    return render_template(
        "dead_letters.html",
        letters=letters,
        more=len(letters) == MOST,
        foreign=foreign_messages.kept(cloud.outputs, MOST),
        plain=plain,
        token=operator.token(),
        told=operator.told(),
    )


@blueprint.post("/fleet/redrive")
@needs(Right.OPERATE)
def redrive() -> BaseResponse:
    """Send the dead letters with the form's keys to the request queue once more; without a key all of them."""
    _check_pool()
    operator.check_operator()
    count = dead_letters.redrive(services().cloud, request.form.getlist("key") or None)
    log.info("the operator sent %d dead letters to the request queue again", count)
    return _done(f"{count:,} {'message is' if count == 1 else 'messages are'} in the request queue again.")


@blueprint.post("/fleet/dead-letters/delete")
@needs(Right.OPERATE)
def delete() -> BaseResponse:
    """Delete the dead letters with the form's keys, a kept message that is not ours, or all. Raises Problem (400)."""
    _check_pool()
    operator.check_operator()
    cloud, keys, names = services().cloud, request.form.getlist("key"), request.form.getlist("foreign")
    if not keys and not names and "all" not in request.form:
        raise Problem(400, "Say which: a key, a foreign message, or all.")
    count = dead_letters.purge(cloud, keys or None) if keys or not names else 0
    if names or not keys:
        count += foreign_messages.delete(cloud.outputs, names or None)
    log.info("the operator deleted %d dead letters and messages that are not Shoal's", count)
    return _done(f"{count:,} {'message is' if count == 1 else 'messages are'} deleted.")


def plain(text: str) -> str:
    """A text on one line, without what cannot be seen or turns the direction of writing."""
    return text if text.isprintable() else ascii(text)[1:-1]


def _check_pool() -> None:
    if not services().has_pool:
        raise Problem(404, "This server labels photos itself: it has no queue, and no dead letters.")


def _done(told: str) -> BaseResponse:
    services().reporter.changed()
    operator.tell(told)
    return redirect(url_for("dead_letters.dead_letters_page"), 303)
