"""The Flask application: routes, security headers and static files."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache

from flask import Flask, Response, request, url_for

from shoal.folders import folder
from shoal.ports import Clock, Cloud
from shoal.settings import Settings
from web_tier import problems, words
from web_tier.access import gate, origin, person, rights
from web_tier.examples import find_examples
from web_tier.results.card import QUEUED, card, others
from web_tier.results.status import COUNTING
from web_tier.results.timeline import latency, timeline
from web_tier.results.view import ORDERS, SHOWN
from web_tier.routes import (
    api,
    compare,
    contracts,
    dead_letters,
    device,
    events,
    fleet,
    health,
    pages,
    privacy,
    sharing,
    sign_in,
    uploads,
    v1,
)
from web_tier.routes.bulk import runs, v1_runs
from web_tier.schemas import bodies
from web_tier.services import EXTENSION, LambdaFunction, build
from web_tier.services import check_venues as check_venues  # for the start

STATIC = folder("static")
TEMPLATES = folder("templates")

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # only its secret address protects a batch
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",  # no other page shows a photo, or learns its size
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def _content_security_policy(store: str) -> str:
    """store: the origin of the storage that pages upload to; may be empty."""
    parts = (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        f"connect-src 'self' {store}".strip(),
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
    return "; ".join(parts)


def create_app(
    settings: Settings, cloud: Cloud, clock: Clock, has_pool: bool = True, function: LambdaFunction | None = None
) -> Flask:
    """The web tier as a WSGI application. `app.extensions["shoal"]` is its Services; start and stop them around it.

    has_pool: whether there are queues and workers; without them the venue labels in this process.
    function: the Lambda function, for the page that compares venues.

    Raises SettingsError for an unknown venue.
    """
    app = Flask("web_tier", static_folder=str(STATIC), template_folder=str(TEMPLATES))
    built = app.extensions[EXTENSION] = build(settings, cloud, clock, has_pool)
    built.comparisons.function = function
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals["asset"] = _asset
    app.jinja_env.globals["examples"] = find_examples(STATIC / "examples")
    app.jinja_env.globals["models"] = settings.served_models
    app.jinja_env.globals["tails"] = settings.served_tails
    app.jinja_env.globals["has_pool"] = has_pool
    app.jinja_env.globals.update(card=card, others=others, timeline=timeline, queued=QUEUED, shown=SHOWN, orders=ORDERS)
    app.jinja_env.globals.update(counting=COUNTING, latency=latency)
    app.jinja_env.filters["number"] = words.number
    for part in (pages, api, events, fleet, dead_letters, compare, health, v1, uploads, contracts, device, privacy):
        app.register_blueprint(part.blueprint)
    for bulk in (runs, v1_runs):
        app.register_blueprint(bulk.blueprint)
    app.jinja_env.globals["runs_link"] = runs.link_to_runs
    problems.install(app)
    bodies.install(app)
    origin.install(app, settings.allowed_host_names, contracts.CHANGING_GETS)
    app.jinja_env.globals.update(signs_in=built.entrance.signs_in, me=person.current, reads_only=gate.reads_only)
    if built.entrance.signs_in:
        app.register_blueprint(sign_in.blueprint)
        app.register_blueprint(sharing.blueprint)
        built.comparisons.key = built.entrance.own_key
        gate.install(app, built.entrance, settings.prefix)
    rights.check_all(app)
    headers = {"Content-Security-Policy": _content_security_policy(built.direct.origin), **HEADERS}
    app.after_request(lambda response: _finish(response, headers))
    return app


def _asset(name: str) -> str:
    """The address of a static file. It changes with the content, so that browsers may cache it for good."""
    return url_for("static", filename=name, v=_digest(name))


@cache
def _digest(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


@cache
def _packed(name: str) -> bytes:
    return gzip.compress((STATIC / name).read_bytes(), mtime=0)


def _pack(response: Response, name: str) -> None:
    """Send a script or style sheet in a third of its size, to a client that takes it so."""
    response.headers["Vary"] = "Accept-Encoding"
    if response.status_code == 200 and request.accept_encodings["gzip"]:
        response.close()  # the file that it was made of
        response.direct_passthrough = False
        response.data = _packed(name)
        response.headers["Content-Encoding"] = "gzip"
        response.set_etag(f"{_digest(name)}-gzip")


def _finish(response: Response, headers: dict[str, str]) -> Response:
    policy = response.headers.get("Content-Security-Policy")  # a view may have one of its own
    response.headers.update(headers)
    if policy:
        response.headers["Content-Security-Policy"] = policy
    if request.endpoint == "static" and response.status_code in (200, 304):
        lasting = "v" in request.args
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if lasting else "no-cache"
        if request.path.endswith((".js", ".css")):
            _pack(response, (request.view_args or {})["filename"])
    else:
        response.headers.setdefault("Cache-Control", "no-store")
    return response
