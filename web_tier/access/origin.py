"""Refuses requests that a page of another site sends through its visitor's browser.

Two rules, before any view:
- The name in `Host` is this machine's or an allowed one. Otherwise a site could let its own name point here (DNS
  rebinding), and its pages would count as ours. Health checks are answered under any name.
- A request that changes something comes from our own pages or from a program. A browser says from where it comes in
  `Sec-Fetch-Site`, or in `Origin` where it does not send that. A program sends neither.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Flask, request

from web_tier.problems import Problem

_CHANGES_NOTHING = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN = frozenset({"same-origin", "none"})  # none: the user typed the address
_HEALTH = frozenset({"health.healthz", "health.readyz"})
_HOST = re.compile(r"[\w.:\[\]-]{1,300}", re.ASCII)


def install(app: Flask, allowed: Collection[str], changing_gets: Collection[str]) -> None:
    """Check each request of `app`.

    allowed:       further names that the page answers to, such as a domain; "*" allows all.
    changing_gets: the endpoints whose GET accepts photos.
    """
    names = frozenset(name.lower().rstrip(".") for name in allowed)
    app.before_request(lambda: _check(names, changing_gets))


def _check(allowed: frozenset[str], changing_gets: Collection[str]) -> None:
    if request.endpoint not in _HEALTH and not answers_to(request.host, allowed):
        raise Problem(421, f"Shoal does not answer to the name in this address. {_advice(request.host)}")
    changes = request.method not in _CHANGES_NOTHING or request.endpoint in changing_gets
    if changes and not _from_here():
        raise Problem(
            403,
            "This request was sent by a page of another site, so nothing was done. If it was sent by Shoal's own page, "
            "a proxy in front of Shoal must pass on the header Host.",
        )


@lru_cache(maxsize=256)
def answers_to(host: str, allowed: frozenset[str]) -> bool:
    """Whether `host`, a name or an address with or without a port, may be this machine's.

    A name without a dot cannot be on the public internet, so it needs no permission.
    """
    name = _name(host)
    if not name:
        return False
    if "*" in allowed or name in allowed or "." not in name or name.endswith(".localhost"):
        return True
    with suppress(ValueError):
        ip_address(name)
        return True
    return False


def _name(host: str) -> str:
    """The name in a `Host`, in lower case; empty if it is none."""
    with suppress(ValueError):
        if _HOST.fullmatch(host):
            return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    return ""


def _advice(host: str) -> str:
    return f"The operator can allow it: SHOAL_ALLOWED_HOSTS={_name(host) or 'its-name'}"


def _from_here() -> bool:
    """Whether our own page or a program sent the current request."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in _OWN
    # Browsers leave out Sec-Fetch-Site where the page came by plain HTTP from another machine.
    sender = request.headers.get("Origin") or request.headers.get("Referer")
    return sender is None or _place(sender) == _place(f"http://{request.host}")


def _place(address: str) -> str | None:
    """Host and port of an address. The scheme may differ: a proxy may speak HTTPS for us."""
    with suppress(ValueError):
        parts = urlsplit(address)
        if parts.hostname is not None and parts.port not in (None, 80, 443):
            return f"{parts.hostname}:{parts.port}"
        return parts.hostname
    return None
