"""Signing in and out. These routes are only where people have to."""

from __future__ import annotations

import logging
import math
import re

from flask import Blueprint, Response, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from web_tier.access import person
from web_tier.access.gate import session_cookie
from web_tier.access.rights import Right, needs
from web_tier.access.sessions import LASTS_SECONDS, SignedSession
from web_tier.problems import Problem
from web_tier.routes import operator
from web_tier.services import services

log = logging.getLogger(__name__)

blueprint = Blueprint("sign_in", __name__)

_LOCAL = re.compile(r"/(?![/\\])[^\s\\]*")  # an address of ours: never that of another site


@blueprint.get("/sign-in")
@needs(Right.NOTHING)
def sign_in_page() -> Response:
    """Where a person says name and password."""
    return _page()


@blueprint.post("/sign-in")
@needs(Right.NOTHING)
def sign_in() -> BaseResponse:
    """Sign in, and go on to where the person wanted to."""
    name = request.form.get("name", "")
    who = _who(name, request.form.get("password", ""))
    if who is None:
        log.warning("a wrong name or password was given, from %s", request.remote_addr)
        return _page("No user has this name and this password.", name, 403)
    return begin(services().entrance.sessions.start(who), request.form.get("next", ""))


@blueprint.post("/sign-out")
@needs(Right.SIGNED_IN)
def sign_out() -> BaseResponse:
    """Sign out: the cookie is worth nothing from now on."""
    who = person.current()
    if who is None or who.session is None:
        raise Problem(403, "Nobody is signed in here.")
    operator.check_form(who.session)
    services().entrance.end(who.session)
    response = redirect("/sign-in", 303)
    response.delete_cookie(session_cookie(services().settings.prefix))
    return response


def begin(session: SignedSession, next_page: str) -> BaseResponse:
    """Give the session to the browser. next_page: where to go on, if that is a page of ours."""
    response = redirect(next_page if _LOCAL.fullmatch(next_page) else "/", 303)
    response.set_cookie(
        session_cookie(services().settings.prefix),
        session.token,
        max_age=int(LASTS_SECONDS),
        secure=request.is_secure,
        httponly=True,
        samesite="Lax",  # Strict would not come along when somebody follows a link to a batch
    )
    return response


def _who(name: str, password: str) -> dict[str, str] | None:
    """Whose the name and password are. Raises Problem (429) after guesses."""
    guesses, address = services().guesses, request.remote_addr or ""
    if pause := guesses.pause(address):
        raise Problem(429, "Too many wrong passwords came from your address.", retry_after=math.ceil(pause))
    who = services().entrance.password_is_right(name, password)
    if who is None:
        guesses.wrong(address)
    else:
        guesses.right(address)
    return who


def _page(error: str = "", name: str = "", status: int = 200) -> Response:
    following = request.values.get("next", "")
    return make_response(render_template("sign_in.html", error=error, name=name, following=following), status)
