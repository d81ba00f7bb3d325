"""Signs the operator in on the fleet page, by a secret. A signed cookie lasts half a day."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import timedelta

from flask import Flask, request, session

from shoal.settings import Settings
from web_tier.problems import Problem
from web_tier.services import services

SIGNED_IN = "operator"
TOKEN = "token"
LASTS = timedelta(hours=12)


def install(app: Flask, settings: Settings) -> None:
    """Set up the session cookie. Without a secret there are no cookies at all."""
    if not settings.operator_secret:
        return
    # Derived from the secret: all web processes share it, and a new secret signs everybody out.
    app.secret_key = hmac.digest(settings.operator_secret.encode(), b"shoal session", "sha256")
    app.permanent_session_lifetime = LASTS
    app.config.update(
        SESSION_COOKIE_NAME=f"{settings.prefix}-operator",
        SESSION_COOKIE_PATH="/fleet",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
    )


def signed_in() -> bool:
    """Whether the operator sent the current request."""
    return bool(services().settings.operator_secret) and session.get(SIGNED_IN) is True


def token() -> str:
    """The token in the forms of this browser's pages. Another site cannot know it (CSRF)."""
    return str(session.setdefault(TOKEN, secrets.token_urlsafe(16)))


def sign_in() -> bool:
    """Sign in with the current form. Returns whether its secret is right. Raises Problem (403)."""
    check_token()
    given, right = request.form.get("secret", ""), services().settings.operator_secret
    if not hmac.compare_digest(_digest(given), _digest(right)):
        return False
    session.clear()
    session[SIGNED_IN] = True
    return True


def sign_out() -> None:
    """Sign out. Raises Problem (403)."""
    check_token()
    session.clear()


def check_operator() -> None:
    """Raise Problem (403) unless the signed-in operator sent the current form."""
    if not signed_in():
        raise Problem(403, "Only the operator may do that: sign in on the fleet page first.")
    check_token()


def check_token() -> None:
    """Raise Problem (403) unless the current form comes from a page of this browser."""
    if not services().settings.operator_secret:
        raise Problem(403, "Nobody can act here: SHOAL_OPERATOR_SECRET is not set.")
    if not hmac.compare_digest(_digest(request.form.get(TOKEN, "")), _digest(token())):
        raise Problem(403, "This form is out of date. Go back, load the page again, and try once more.")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
