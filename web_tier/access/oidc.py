"""Signing in at another place: OpenID Connect, by its code flow with PKCE. Authlib and joserfc do the protocol.

Imported only where SHOAL_OIDC_ISSUER is set: the packages take a quarter of a second.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as AnswerTimeout
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeVar

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from requests.adapters import HTTPAdapter

from shoal.errors import Permanent, Retryable
from shoal.proxies import is_direct
from shoal.settings import Settings
from web_tier.access.recently import Recently

# Signatures with a key pair. With HS256 the secret of the client would sign, and "none" is no signature.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
TIMEOUT_SECONDS = 10.0  # without a byte
ANSWER_SECONDS = 15.0  # for a whole answer: a provider that drips would hold a thread of the page for hours
ANSWER_BYTES = 1_000_000
CALLS_AT_ONCE = 16
KEPT_SECONDS = 600.0  # for which the provider's own description and its keys are remembered
LEEWAY_SECONDS = 60  # by which its clock may differ
LONGEST = 20_000  # characters of a code or a token

_DISCOVERY = "/.well-known/openid-configuration"
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")

Answer = TypeVar("Answer")


class SignInRefused(Permanent):
    """The provider, or what it says, does not let the person in. The text is for the person."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sign-in that was begun in a browser, which keeps it in a cookie until it comes back.

    state: the answer must repeat it, so that it belongs to this browser. nonce: the token must hold it, so that it was
    made for this attempt. verifier: proves that who exchanges the code began the attempt (PKCE).
    """

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> Attempt:
        """A new one."""
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48))


@dataclass(frozen=True, slots=True)
class Claims:
    """What the provider says of a person. email: verified by it, or empty."""

    subject: str
    email: str
    name: str


class Provider:
    """The provider of the settings. Safe for many threads. Every method may raise SignInRefused and Retryable."""

    def __init__(self, settings: Settings) -> None:
        self._issuer = settings.oidc_issuer
        self._id = settings.oidc_client_id
        self._secret = settings.oidc_client_secret
        self._described = Recently(self._describe, KEPT_SECONDS)
        self._keys = Recently(self._fetch_keys, KEPT_SECONDS)
        self._calls = threading.BoundedSemaphore(CALLS_AT_ONCE)

    def begin(self, attempt: Attempt, redirect_uri: str) -> str:
        """The address at the provider where the person signs in."""
        with self._session(redirect_uri) as session:
            address, _ = session.create_authorization_url(
                self._described(self._issuer)["authorization_endpoint"],
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.verifier,
            )
        return str(address)

    def finish(self, attempt: Attempt, redirect_uri: str, answer: Mapping[str, str]) -> Claims:
        """Who the person is, by the provider's answer: the query with which the browser came back."""
        if not hmac.compare_digest(answer.get("state", "").encode(), attempt.state.encode()):
            raise SignInRefused("This answer belongs to another sign-in. Please begin again.")
        if answer.get("iss", self._issuer) != self._issuer:
            raise SignInRefused("This answer comes from another provider.")
        if "error" in answer or not 0 < len(answer.get("code", "")) <= LONGEST:
            raise SignInRefused("The provider did not sign you in.")
        token = self._exchange(attempt, redirect_uri, answer["code"])
        return self._checked(token, attempt.nonce)

    def _exchange(self, attempt: Attempt, redirect_uri: str, code: str) -> dict[str, Any]:
        endpoint = self._described(self._issuer)["token_endpoint"]

        def fetch() -> dict[str, Any]:
            with self._session(redirect_uri) as session:
                return dict(
                    session.fetch_token(
                        endpoint, grant_type="authorization_code", code=code, code_verifier=attempt.verifier
                    )
                )

        try:
            return self._in_time(fetch)
        except requests.RequestException as error:
            raise Retryable(f"the sign-in provider does not answer: {error}") from error
        except (AuthlibBaseError, ValueError, TypeError, RecursionError) as error:
            raise SignInRefused("The provider did not accept this sign-in. Please begin again.") from error

    def _checked(self, token: dict[str, Any], nonce: str) -> Claims:
        """What the ID token of an answer says, when it is the provider's and for this attempt."""
        text = token.get("id_token")
        if not isinstance(text, str) or len(text) > LONGEST:
            raise SignInRefused("The provider sent no ID token.")
        try:
            claims = self._claims(text, nonce, token.get("access_token"))
        except (JoseError, AuthlibBaseError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise SignInRefused("What the provider says of you cannot be trusted, so you are not signed in.") from error
        email = claims.get("email") if claims.get("email_verified") is True else ""
        name = claims.get("name") or claims.get("preferred_username") or email or claims["sub"]
        return Claims(str(claims["sub"]), str(email or "").lower(), str(name)[:100])

    def _claims(self, text: str, nonce: str, access_token: Any) -> CodeIDToken:
        try:
            decoded = jwt.decode(text, self._keys(self._issuer), algorithms=list(ALGORITHMS))
        except (JoseError, ValueError):
            self._keys.forget(self._issuer)  # it may have new keys
            decoded = jwt.decode(text, self._keys(self._issuer), algorithms=list(ALGORITHMS))
        options = {
            "iss": {"essential": True, "value": self._issuer},
            "aud": {"essential": True, "value": self._id},
            "sub": {"essential": True},
        }
        about = {"nonce": nonce, "client_id": self._id, "access_token": access_token}
        claims = CodeIDToken(decoded.claims, decoded.header, options, about)
        claims.validate(leeway=LEEWAY_SECONDS)
        return claims

    def _describe(self, issuer: str) -> dict[str, Any]:
        """The provider's own description of itself."""
        found = self._get(issuer.rstrip("/") + _DISCOVERY)
        if found.get("issuer") != issuer:
            raise SignInRefused("The sign-in provider calls itself otherwise than SHOAL_OIDC_ISSUER does.")
        for name in _ENDPOINTS:
            address = found.get(name)
            if not isinstance(address, str) or not is_safe(address):
                raise SignInRefused(f"The sign-in provider has no safe {name}.")
        return found

    def _fetch_keys(self, issuer: str) -> KeySet:
        return KeySet.import_key_set(self._get(self._described(issuer)["jwks_uri"]))  # type: ignore[arg-type]

    def _get(self, address: str) -> dict[str, Any]:
        def fetch() -> dict[str, Any]:
            with _limited(requests.Session()) as session:
                session.trust_env = not is_direct(address)
                answer = session.get(address, timeout=TIMEOUT_SECONDS, allow_redirects=False)
                answer.raise_for_status()
                return dict(answer.json())

        try:
            return self._in_time(fetch)
        except (requests.RequestException, ValueError, TypeError, RecursionError) as error:
            raise Retryable(f"the sign-in provider does not answer at {address}: {error}") from error

    def _in_time(self, call: Callable[[], Answer]) -> Answer:
        """What a call to the provider returns. Raises what it raises, and Retryable when that takes too long.

        Then its thread is left behind: it ends with the provider's answer. There are at most CALLS_AT_ONCE.
        """
        if not self._calls.acquire(blocking=False):
            raise Retryable("the sign-in provider is slow, and too many others wait for it")
        told: Future[Answer] = Future()

        def run() -> None:
            try:
                told.set_result(call())
            except BaseException as error:  # the thread that waits must get it
                told.set_exception(error)
            finally:
                self._calls.release()

        threading.Thread(target=run, name="sign-in", daemon=True).start()
        try:
            return told.result(ANSWER_SECONDS)
        except AnswerTimeout:
            raise Retryable(f"the sign-in provider did not answer within {ANSWER_SECONDS:g} s") from None

    def _session(self, redirect_uri: str) -> Any:
        """A client of the protocol. The secret goes to the provider's own address alone, so it follows no redirect."""
        session = OAuth2Session(
            self._id,
            self._secret or None,
            token_endpoint_auth_method="client_secret_basic" if self._secret else "none",
            scope="openid email profile",
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            default_timeout=TIMEOUT_SECONDS,
        )
        session.max_redirects = 0
        session.trust_env = not is_direct(self._issuer)
        return _limited(session)


class _ShortAnswers(HTTPAdapter):
    """Reads no answer that is longer than ANSWER_BYTES, unpacked."""

    def send(self, *given: Any, **options: Any) -> requests.Response:
        response = super().send(*given, **options | {"stream": True})
        content = response.raw.read(ANSWER_BYTES + 1, decode_content=True)
        response.close()
        if len(content) > ANSWER_BYTES:
            raise requests.exceptions.ContentDecodingError(f"the answer has more than {ANSWER_BYTES:,} bytes")
        response.raw = BytesIO(content)
        response.headers.pop("Content-Encoding", None)
        return response


def _limited(session: requests.Session) -> requests.Session:
    for scheme in ("https://", "http://"):
        session.mount(scheme, _ShortAnswers())
    return session


def is_safe(address: str) -> bool:
    """Whether what is sent to an address cannot be read on the way: by HTTPS, or on this machine."""
    return address.startswith("https://") or (address.startswith("http://") and is_direct(address))
