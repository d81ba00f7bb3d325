"""Signing in by OpenID Connect, at a small provider on this machine that keeps to the protocol, or breaks it."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey

from shoal import settings as shoal_settings
from shoal.errors import SettingsError
from tests.web_fixtures import Site, jpeg, running_site
from web_tier.access import oidc

CLIENT, CLIENT_SECRET = "shoal", "the secret of the client"
PAGE = {"Accept": "text/html,application/xhtml+xml"}


def s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


@dataclass
class SmallProvider:
    """Lets in whoever comes, as `person`. claims: what its tokens say otherwise. header: of its tokens."""

    person: dict[str, Any]
    claims: dict[str, Any] = field(default_factory=dict)
    signs_with: Any = None
    algorithm: str = "RS256"
    name: str = ""
    url: str = ""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    broken: dict[str, Iterable[bytes]] = field(default_factory=dict)  # what is told at a path instead of an answer

    def __post_init__(self) -> None:
        self.new_key()

    def new_key(self) -> None:
        """Change the key pair, as providers do now and then."""
        self.key = RSAKey.generate_key(2048, parameters={"kid": str(time.monotonic()), "use": "sig"})

    def description(self) -> dict[str, Any]:
        paths = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        return {"issuer": self.name or self.url} | {name: f"{self.url}/{path}" for name, path in paths.items()}

    def authorize(self, query: dict[str, str]) -> str:
        """Where the browser goes with its code."""
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert {"openid", "email"} <= set(query["scope"].split())
        code = f"code{len(self.codes)}"
        self.codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def exchange(self, form: dict[str, str], authorization: str) -> dict[str, Any] | None:
        """The tokens for a code: once, for who has the secret of the client and began the attempt."""
        asked = self.codes.pop(form.get("code", ""), None)
        right = base64.b64encode(f"{CLIENT}:{CLIENT_SECRET}".encode()).decode()
        if asked is None or authorization != f"Basic {right}" or form["grant_type"] != "authorization_code":
            return None
        if s256(form["code_verifier"]) != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return None
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 60, "nonce": asked["nonce"]}
        text = jwt.encode(
            {"alg": self.algorithm, "kid": self.key.kid},
            {**claims, **self.person, **self.claims},
            self.signs_with or self.key,
            algorithms=[self.algorithm],
        )
        return {"access_token": "x", "token_type": "Bearer", "expires_in": 60, "id_token": text}


def broke(handler: BaseHTTPRequestHandler, provider: SmallProvider, path: str) -> bool:
    """Tell what is broken at this path, if anything is."""
    if path not in provider.broken:
        return False
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    with suppress(OSError):
        for part in provider.broken[path]:
            handler.wfile.write(part)
    return True


@contextmanager
def serving(provider: SmallProvider) -> Iterator[SmallProvider]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/authorize":
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                self.send_response(302)
                self.send_header("Location", provider.authorize(query))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if broke(self, provider, parts.path):
                return
            known = {
                "/.well-known/openid-configuration": provider.description(),
                "/keys": KeySet([provider.key]).as_dict(private=False),
            }
            self.tell(200, known[parts.path])

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(text).items()}
            if broke(self, provider, self.path):
                return
            tokens = provider.exchange(form, self.headers.get("Authorization", ""))
            self.tell(400 if tokens is None else 200, tokens or {"error": "invalid_grant"})

        def tell(self, status: int, body: Any) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()


ALICE = {"sub": "1234", "email": "Alice@example.org", "email_verified": True, "name": "Alice"}


@pytest.fixture
def provider() -> Iterator[SmallProvider]:
    with serving(SmallProvider(dict(ALICE))) as running:
        yield running


@contextmanager
def site_for(provider: SmallProvider, **changes: Any) -> Iterator[Site]:
    usual = {
        "oidc_issuer": provider.url,
        "oidc_client_id": CLIENT,
        "oidc_client_secret": CLIENT_SECRET,
        "oidc_users": "@example.org",
    }
    with running_site(sign_in="on", **{**usual, **changes}) as site:
        yield site


def sign_in(site: Site, browser: requests.Session, next_page: str = "/batches") -> requests.Response:
    """Go to the provider and come back."""
    return browser.get(
        f"{site.url}/sign-in/provider", params={"next": next_page}, headers=PAGE, timeout=20, allow_redirects=True
    )


def test_who_signs_in_at_the_provider_has_batches_of_their_own(provider: SmallProvider) -> None:
    with site_for(provider, oidc_operators="boss@example.org") as site:
        browser, other = requests.Session(), requests.Session()
        assert "/sign-in/provider?next=/fleet" in browser.get(f"{site.url}/fleet", headers=PAGE, timeout=20).text
        opened = sign_in(site, browser)
        assert (opened.status_code, opened.url) == (200, f"{site.url}/batches")
        assert "test-attempt" not in browser.cookies
        files = {"inputFile": ("a.jpg", jpeg(), "image/jpeg")}
        batch = browser.post(f"{site.url}/v1/batches", files=files, timeout=20).json()["batch"]
        provider.person = ALICE | {"sub": "5678", "email": "boss@example.org"}
        sign_in(site, other)
        assert other.get(f"{site.url}/v1/batches/{batch}", timeout=20).status_code == 404
        assert other.get(f"{site.url}/fleet.json", timeout=20).ok  # an operator
        provider.person = ALICE | {"email": "new@example.org"}  # the same person
        provider.new_key()
        again = requests.Session()
        sign_in(site, again)
        assert again.get(f"{site.url}/v1/batches/{batch}", timeout=20).ok
        assert again.get(f"{site.url}/fleet.json", timeout=20).status_code == 403
    named: dict[str, Any] = {"oidc_issuer": provider.url, "oidc_client_id": CLIENT, "oidc_users": "other@example.org"}
    with running_site(site.cloud, sign_in="on", **named) as stricter:
        assert again.get(f"{stricter.url}/v1/batches", timeout=20).status_code == 401  # who is named no more is out


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"claims": {"nonce": "another"}}, "cannot be trusted"),
        ({"claims": {"aud": "another client"}}, "cannot be trusted"),
        ({"claims": {"iss": "https://evil.example"}}, "cannot be trusted"),
        ({"claims": {"exp": int(time.time()) - 3600}}, "cannot be trusted"),
        ({"signs_with": lambda: RSAKey.generate_key(2048)}, "cannot be trusted"),
        ({"signs_with": OctKey.import_key(CLIENT_SECRET), "algorithm": "HS256"}, "cannot be trusted"),
        ({"claims": {"email": "eve@evil.example"}}, "may not use this Shoal"),
        ({"claims": {"email_verified": False}}, "may not use this Shoal"),
        ({"claims": {"email": "eve@evil.example,@example.org"}}, "may not use this Shoal"),
    ],
)
def test_what_the_provider_must_not_say(provider: SmallProvider, wrong: dict[str, Any], told: str) -> None:
    for name, value in wrong.items():
        setattr(provider, name, value() if callable(value) else value)
    with site_for(provider, oidc_users="alice@example.org") as site:
        browser = requests.Session()
        reply = sign_in(site, browser)
        assert (reply.status_code, told in reply.text) == (403, True)
        assert browser.get(f"{site.url}/v1/batches", timeout=20).status_code == 401


def test_an_answer_counts_once_and_in_the_browser_that_began(provider: SmallProvider) -> None:
    with site_for(provider) as site:
        eve, victim = requests.Session(), requests.Session()
        begun = eve.get(f"{site.url}/sign-in/provider", timeout=20, allow_redirects=False).headers["Location"]
        back = requests.get(begun, timeout=20, allow_redirects=False).headers["Location"]
        for stranger in (victim, requests.Session()):  # without an attempt, and with one of its own
            assert stranger.get(back, headers=PAGE, timeout=20).status_code == 403
            assert "test-session" not in stranger.cookies
            victim.get(f"{site.url}/sign-in/provider", timeout=20, allow_redirects=False)
        assert victim.get(back, headers=PAGE, timeout=20).status_code == 403
        assert eve.get(f"{back}&iss=https%3A%2F%2Fevil.example", headers=PAGE, timeout=20).status_code == 403
        assert eve.get(back.replace("code=", "error="), headers=PAGE, timeout=20).status_code == 403
        attempt = eve.cookies.get_dict()
        assert eve.get(back, headers=PAGE, timeout=20).ok
        thief = requests.Session()
        thief.cookies.update({"test-attempt": attempt["test-attempt"]})
        assert thief.get(back, headers=PAGE, timeout=20).status_code == 403  # the code was used


def test_a_provider_that_is_away_or_another_is_said(provider: SmallProvider) -> None:
    with site_for(provider) as site:
        provider.name = "https://another.example"
        assert sign_in(site, requests.Session()).status_code == 500
    with site_for(provider, oidc_issuer="http://127.0.0.1:9") as site:
        assert sign_in(site, requests.Session()).status_code == 503
    with running_site(work=False, sign_in="on") as site:
        assert sign_in(site, requests.Session()).status_code == 404


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/keys", "/token"])
def test_what_a_provider_sends_without_end_holds_no_thread_and_no_memory(
    provider: SmallProvider, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    over = Event()

    def drops() -> Iterator[bytes]:
        while not over.wait(0.05):
            yield b" "

    read = list[int]()

    def blanks() -> Iterator[bytes]:
        for number in range(200):
            read.append(number)
            yield b" " * 1_000_000

    with site_for(provider) as site:
        provider.broken = {path: [b"[" * 100_000]}
        assert sign_in(site, requests.Session()).status_code in (403, 503)
        provider.broken = {path: blanks()}
        assert sign_in(site, requests.Session()).status_code == 503
        assert len(read) < 100
        monkeypatch.setattr(oidc, "ANSWER_SECONDS", 0.5)
        provider.broken = {path: drops()}
        assert sign_in(site, requests.Session()).status_code == 503
        assert "did not answer within 0.5 s" in caplog.text
        over.set()


@pytest.mark.parametrize(
    "wrong",
    [
        {"SHOAL_OIDC_ISSUER": "http://login.example.org"},
        {"SHOAL_OIDC_CLIENT_ID": ""},
        {"SHOAL_OIDC_USERS": ""},
        {"SHOAL_OIDC_OPERATORS": "*"},
    ],
)
def test_settings_that_would_let_in_anybody_are_refused(wrong: dict[str, str]) -> None:
    right = {"SHOAL_OIDC_ISSUER": "https://login.example.org", "SHOAL_OIDC_CLIENT_ID": "x", "SHOAL_OIDC_USERS": "*"}
    shoal_settings.load(right)
    with pytest.raises(SettingsError, match="SHOAL_OIDC"):
        shoal_settings.load(right | wrong)
