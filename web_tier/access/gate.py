"""Asks of each request who sends it, and whether they may: where people sign in, before any view.

A batch belongs to who made it. Others see it only with its share link, and never change it. To them it is unknown: they
do not learn that there is such a batch. A bulk run belongs to who began it, too; operators see and steer all of them.
"""

from __future__ import annotations

from flask import Flask, Response, current_app, g, redirect, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from web_tier.access import person, rights
from web_tier.access.entrance import Entrance
from web_tier.access.person import GUEST, Person
from web_tier.access.rights import Right
from web_tier.problems import Problem, unknown_batch, unknown_run, wants_page

SHARE = "share"
"""The query parameter of a share link."""

_READS_ONLY = "shoal_reads_only"
_SHARE_SECONDS = 7 * 24 * 3600


def install(app: Flask, entrance: Entrance, prefix: str) -> None:
    """Check each request of `app`. prefix: of the names of cookies."""
    app.before_request(lambda: _check(entrance, prefix))


def session_cookie(prefix: str) -> str:
    """The name of the cookie with a session."""
    return f"{prefix}-session"


def give_cookie(
    response: BaseResponse, name: str, value: str, seconds: int, path: str = "/", same_site: str = "Lax"
) -> None:
    """Give the browser a cookie that scripts cannot read. The forms of other sites are sent without it.

    same_site: "Strict" also keeps it back when somebody follows a link from another site, to a batch for example.
    """
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=path,
        secure=request.is_secure,
        httponly=True,
        samesite=same_site,
    )


def reads_only() -> bool:
    """Whether the current request may look at its batch and not change it."""
    return bool(g.get(_READS_ONLY, False))


def check_own(entrance: Entrance, batch: str) -> None:
    """Raise Problem (404) unless the batch is of who sent the current request. May raise Retryable."""
    who = person.current()
    if who is not None and not _owns(entrance, who, batch):
        raise unknown_batch()


def _check(entrance: Entrance, prefix: str) -> BaseResponse | None:
    if request.endpoint is None:
        return None
    right = rights.needed(current_app, request.endpoint)
    by_session = request.cookies.get(session_cookie(prefix), "")
    who = entrance.by_session(by_session) if right is Right.NOTHING else _sender(entrance, by_session)
    if who is not None:
        person.remember(who)
    if right is Right.NOTHING:
        return None
    batch = str((request.view_args or {}).get("batch", ""))
    if batch and right is Right.READ and not (who and _owns(entrance, who, batch)):
        return _as_guest(entrance, who, batch, f"{prefix}-{SHARE}-{batch}")
    if who is None:
        return _ask_to_sign_in()
    if not who.may(right):
        raise Problem(403, _REFUSED[right])
    if batch and not _owns(entrance, who, batch):
        raise unknown_batch()
    run = str((request.view_args or {}).get("run", ""))
    if run and not sees_run(entrance, who, run):
        raise unknown_run()
    return None


def sees_run(entrance: Entrance, who: Person | None, run: str) -> bool:
    """Whether a bulk run is of `who`, or `who` is an operator. None: where nobody signs in, all see all."""
    return who is None or who.may(Right.OPERATE) or entrance.owner(run) == who.owner


_REFUSED = {
    Right.OPERATE: "Only operators may see and do this.",
    Right.LABEL: "This key may not send photos: it was made without the scope label.",
    Right.READ: "This key may not read results: it was made without the scope read.",
}


def _sender(entrance: Entrance, by_session: str) -> Person | None:
    """Who sent the current request, by an API key or by a session. Raises Problem (401) for a key that is not there."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return entrance.by_session(by_session)
    who = entrance.by_key(key.strip())
    if who is None:
        raise Problem(401, "There is no such API key: it was revoked, or it is not whole.")
    return who


def _owns(entrance: Entrance, who: Person, batch: str) -> bool:
    """Whether a batch is of `who`. What was made before people had to sign in is the operators'."""
    owner = entrance.owner(batch)
    return owner == who.owner if owner else who.may(Right.OPERATE)


def _as_guest(entrance: Entrance, who: Person | None, batch: str, cookie: str) -> BaseResponse | None:
    """Let somebody with the batch's share link look at it. On a page the link turns into a cookie."""
    given = request.args.get(SHARE, "")
    if not entrance.is_shared(batch, given or request.cookies.get(cookie, "")):
        if who is None:
            return _ask_to_sign_in()
        raise unknown_batch()
    setattr(g, _READS_ONLY, True)
    if who is None:
        person.remember(GUEST)
    if not given or not wants_page():
        return None
    response = redirect(request.path, 303)
    give_cookie(response, cookie, given, _SHARE_SECONDS, "/batches")
    return response


def _ask_to_sign_in() -> Response | BaseResponse:
    if not wants_page():
        raise Problem(401, "Sign in first, or send an API key: Authorization: Bearer <key>.")
    back = request.full_path.rstrip("?") if request.method == "GET" else "/"
    return redirect(url_for("sign_in.sign_in_page", next=back), 303)
