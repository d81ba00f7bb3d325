"""Waits for a deployed page, and has a first photo labelled through it."""

from __future__ import annotations

import time
from collections.abc import Callable

import requests

from shoal.errors import Permanent, Retryable
from shoal.folders import folder
from shoal.retry import patiently
from shoal_cli._client import session_for

USER = "operator"  # as in web_tier/access/entrance.py: with the page's password
PAGE_SECONDS = 900.0  # the instance installs what it needs
ANSWER_SECONDS = 400.0  # the page itself gives up after SHOAL_ANSWER_SECONDS
PAUSE_SECONDS = 3.0
PHOTO = folder("static") / "examples" / "cat.jpg"


def wait_for_page(address: str, seconds: float = PAGE_SECONDS) -> float:
    """Wait until the page answers; returns how many seconds that took. Raises Retryable."""
    began = time.monotonic()
    session = session_for(address)

    def look() -> None:
        try:
            answer = session.get(f"{address}/healthz", timeout=10)
        except requests.RequestException as error:
            raise Retryable(f"the page {address} does not answer: {error}") from error
        if not answer.ok:
            raise Retryable(f"the page {address} answers {answer.status_code}")

    patiently(look, seconds, lambda: time.sleep(PAUSE_SECONDS))
    return time.monotonic() - began


def label_first_photo(address: str, password: str, pause: Callable[[], object] | None = None) -> str:
    """Sign in, send a photo through the page and return its label. Raises Permanent and Retryable."""
    session = session_for(address)

    def send() -> str:
        try:
            _sign_in(session, address, password)
            with PHOTO.open("rb") as photo:
                answer = session.post(f"{address}/", files={"inputFile": (PHOTO.name, photo)}, timeout=ANSWER_SECONDS)
        except requests.RequestException as error:
            raise Retryable(f"the page {address} does not answer: {error}") from error
        if not answer.ok:
            raise Retryable(f"the first photo was not labelled: the page answers {answer.status_code}")
        return answer.text.strip().partition(":")[2]

    return patiently(send, ANSWER_SECONDS, pause or (lambda: time.sleep(PAUSE_SECONDS)))


def _sign_in(session: requests.Session, address: str, password: str) -> None:
    """Begin a session at the page, unless there is one. Raises Permanent for a wrong password, and Retryable."""
    if session.cookies:
        return
    form = {"name": USER, "password": password}
    answer = session.post(f"{address}/sign-in", form, timeout=ANSWER_SECONDS, allow_redirects=False)
    if answer.status_code == 403:
        raise Permanent(f"the page {address} does not take the password: `shoal deploy --new-password` makes another")
    if answer.status_code != 303 or not session.cookies:
        raise Retryable(f"signing in at the page {address} failed: it answers {answer.status_code}")
