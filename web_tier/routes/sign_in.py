"""Signing in and out. These routes are only where people have to."""

from __future__ import annotations

import json
import logging
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import asdict
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import Blueprint, Response, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from shoal.errors import MalformedMessage
from shoal.safe_json import read_object
from web_tier.access import person
from web_tier.access.gate import give_cookie, session_cookie
from web_tier.access.rights import Right, needs
from web_tier.access.sessions import LASTS_SECONDS, SignedSession
from web_tier.problems import Problem
from web_tier.routes import operator
from web_tier.services import services

if TYPE_CHECKING:
    from web_tier.access.oidc import Provider

log = logging.getLogger(__name__)

blueprint = Blueprint("sign_in", __name__)

ATTEMPT_SECONDS = 600  # in which a person signs in at the provider
LONGEST_NEXT = 1_000
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


@blueprint.get("/sign-in/provider")
@needs(Right.NOTHING)
def go_to_provider() -> BaseResponse:
    """Send the browser to the provider, with an attempt that it brings back."""
    from web_tier.access.oidc import Attempt

    attempt = Attempt.new()
    kept = {**asdict(attempt), "next": request.args.get("next", "")[:LONGEST_NEXT]}
    response = redirect(_provider().begin(attempt, _back()), 303)
    value = urlsafe_b64encode(json.dumps(kept).encode()).decode()
    give_cookie(response, _attempt_cookie(), value, ATTEMPT_SECONDS, "/sign-in")
    return response


@blueprint.get("/sign-in/callback")
@needs(Right.NOTHING)
def come_back() -> BaseResponse:
    """Sign in whom the provider sends back."""
    from web_tier.access.oidc import Attempt, SignInRefused

    provider = _provider()
    try:
        kept = read_object(urlsafe_b64decode(request.cookies.get(_attempt_cookie(), "")))
        attempt, following = Attempt(*(str(kept[name]) for name in ("state", "nonce", "verifier"))), str(kept["next"])
    except (MalformedMessage, ValueError, KeyError):
        return _page("This sign-in took too long, or began in another browser. Please begin again.", status=403)
    try:
        found = provider.finish(attempt, _back(), request.args)
        who = {"oidc": found.subject, "email": found.email, "name": found.name}
        if not services().entrance.may_come_in(who):
            raise SignInRefused(f"You have signed in as {found.name}, who may not use this Shoal.")
    except SignInRefused as error:
        log.warning("a sign-in by the provider failed, from %s: %s", request.remote_addr, error.__cause__ or error)
        return _page(str(error), status=403)
    response = begin(services().entrance.sessions.start(who), following)
    response.delete_cookie(_attempt_cookie(), path="/sign-in")
    return response


def _provider() -> Provider:
    found = services().entrance.provider
    if found is None:
        raise Problem(404, "There is no sign-in provider: SHOAL_OIDC_ISSUER is not set.")
    return found


def _back() -> str:
    """The address of ours to which the provider sends the browser back."""
    return f"{request.host_url}sign-in/callback"


def _attempt_cookie() -> str:
    return f"{services().settings.prefix}-attempt"


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
    give_cookie(response, session_cookie(services().settings.prefix), session.token, int(LASTS_SECONDS))
    return response


def _who(name: str, password: str) -> dict[str, str] | None:
    """Whose the name and password are. Raises Problem (429) after guesses."""
    entrance, address = services().entrance, request.remote_addr or ""
    return services().guesses.guess(address, lambda: entrance.password_is_right(name, password), name)


def _page(error: str = "", name: str = "", status: int = 200) -> Response:
    following = request.values.get("next", "")
    issuer = services().settings.oidc_issuer
    page = render_template(
        "sign_in.html", error=error, name=name, following=following, provider=urlsplit(issuer).netloc
    )
    return make_response(page, status)
