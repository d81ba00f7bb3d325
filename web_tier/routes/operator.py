"""What operators alone may do, and their session.

Where nobody has to sign in, an operator does it on the fleet page, by a secret. Elsewhere operators sign in as all do,
and the gate has asked for their right before a view runs.
"""

from __future__ import annotations

import hashlib
import hmac

from flask import g, request
from werkzeug.wrappers import Response

from web_tier.access import person
from web_tier.access.gate import give_cookie
from web_tier.access.rights import Right
from web_tier.access.sessions import LASTS_SECONDS, SignedSession
from web_tier.problems import Problem
from web_tier.services import services

TOKEN = "token"

_PATH = "/fleet"
_FOUND = "operator_session"


def signed_in() -> bool:
    """Whether an operator sent the current request. May raise Retryable."""
    who = person.current()
    return who.may(Right.OPERATE) if who else _session() is not None


def token() -> str:
    """The token in the forms of the operator's pages. Another site cannot know it (CSRF)."""
    session = _session()
    return "" if session is None else session.form_token


def check_secret() -> bool:
    """Whether the secret in the current form is right. Raises Problem: 403 if nobody may sign in, 429 after guesses."""
    right = services().settings.operator_secret
    if not right:
        raise Problem(403, "Nobody can act here: SHOAL_OPERATOR_SECRET is not set.")

    def is_right() -> bool | None:
        return hmac.compare_digest(_digest(request.form.get("secret", "")), _digest(right)) or None

    return bool(services().guesses.guess(request.remote_addr or "", is_right))


def sign_in(response: Response) -> None:
    """Start a session and give its cookie to the browser. Call it after `check_secret`."""
    begun = services().entrance.sessions.start({}).token
    give_cookie(response, _cookie(), begun, int(LASTS_SECONDS), _PATH, "Strict")


def sign_out(response: Response) -> None:
    """End the session. Raises Problem (403)."""
    if (session := check_operator()) is not None:
        services().entrance.end(session)
    response.delete_cookie(_cookie(), path=_PATH)


def tell(text: str) -> None:
    """Show a text on the operator's next page."""
    if (session := _session()) is not None:
        services().entrance.sessions.tell(session, text)


def told() -> list[str]:
    """The texts for the operator's current page."""
    session = _session()
    return [] if session is None else services().entrance.sessions.told(session)


def check_operator() -> SignedSession | None:
    """The session of the operator, who sent the current form from one of its pages; None for a program with a key.

    Raises Problem (403).
    """
    session = _session()
    if session is not None:
        check_form(session)
    elif not signed_in():
        raise Problem(403, "Only the operator may do that: sign in on the fleet page first.")
    return session


def check_form(session: SignedSession) -> None:
    """Raise Problem (403) unless the current form is from a page of this session."""
    if not hmac.compare_digest(_digest(request.form.get(TOKEN, "")), _digest(session.form_token)):
        raise Problem(403, "This form is out of date. Go back, load the page again, and try once more.")


def _session() -> SignedSession | None:
    """The session of the current request, looked up once."""
    if services().entrance.signs_in:
        who = person.current()
        return who.session if who else None
    if _FOUND not in g:
        known = bool(services().settings.operator_secret)
        setattr(g, _FOUND, services().entrance.sessions.find(request.cookies.get(_cookie(), "")) if known else None)
    found: SignedSession | None = g.get(_FOUND)
    return found


def _cookie() -> str:
    return f"{services().settings.prefix}-operator"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
