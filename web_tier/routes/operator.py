"""Signs the operator in on the fleet page, by a secret. The cookie is worth nothing after sign-out or half a day."""

from __future__ import annotations

import hashlib
import hmac
import math

from flask import g, request
from werkzeug.wrappers import Response

from web_tier.access.sessions import LASTS_SECONDS, OperatorSession
from web_tier.problems import Problem
from web_tier.services import services

TOKEN = "token"

_PATH = "/fleet"
_FOUND = "operator_session"


def signed_in() -> bool:
    """Whether the operator sent the current request. May raise Retryable."""
    return _session() is not None


def token() -> str:
    """The token in the forms of the operator's pages. Another site cannot know it (CSRF)."""
    session = _session()
    return "" if session is None else session.form_token


def check_secret() -> bool:
    """Whether the secret in the current form is right. Raises Problem: 403 if nobody may sign in, 429 after guesses."""
    right = services().settings.operator_secret
    if not right:
        raise Problem(403, "Nobody can act here: SHOAL_OPERATOR_SECRET is not set.")
    guesses, address = services().guesses, request.remote_addr or ""
    if pause := guesses.pause(address):
        raise Problem(429, "Too many wrong secrets came from your address.", retry_after=math.ceil(pause))
    if not hmac.compare_digest(_digest(request.form.get("secret", "")), _digest(right)):
        guesses.wrong(address)
        return False
    guesses.right(address)
    return True


def sign_in(response: Response) -> None:
    """Start a session and give its cookie to the browser. Call it after `check_secret`."""
    response.set_cookie(
        _cookie(),
        services().sessions.start().token,
        max_age=int(LASTS_SECONDS),
        path=_PATH,
        secure=request.is_secure,
        httponly=True,
        samesite="Strict",
    )


def sign_out(response: Response) -> None:
    """End the session. Raises Problem (403)."""
    services().sessions.end(check_operator())
    response.delete_cookie(_cookie(), path=_PATH)


def tell(text: str) -> None:
    """Show a text on the operator's next page."""
    if (session := _session()) is not None:
        services().sessions.tell(session, text)


def told() -> list[str]:
    """The texts for the operator's current page."""
    session = _session()
    return [] if session is None else services().sessions.told(session)


def check_operator() -> OperatorSession:
    """The session of the operator, who sent the current form from one of its pages. Raises Problem (403)."""
    session = _session()
    if session is None:
        raise Problem(403, "Only the operator may do that: sign in on the fleet page first.")
    if not hmac.compare_digest(_digest(request.form.get(TOKEN, "")), _digest(session.form_token)):
        raise Problem(403, "This form is out of date. Go back, load the page again, and try once more.")
    return session


def _session() -> OperatorSession | None:
    """The session of the current request, looked up once."""
    if _FOUND not in g:
        known = bool(services().settings.operator_secret)
        setattr(g, _FOUND, services().sessions.find(request.cookies.get(_cookie(), "")) if known else None)
    found: OperatorSession | None = g.get(_FOUND)
    return found


def _cookie() -> str:
    return f"{services().settings.prefix}-operator"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
