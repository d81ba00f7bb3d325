"""Checks the signature of a call (Signature Version 4): in a header, in the address, or in an upload form.

The formulas are those of AWS, "Signature Version 4 signing process", computed by ministack's functions.
"""

import hashlib
import hmac
import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from ministack.core import sigv4

from local_cloud.guard.callers import Caller
from local_cloud.guard.refusal import Refused

LONGEST_EXPIRY_SECONDS = 7 * 24 * 3600
_HASH = re.compile(r"[0-9a-f]{64}")
_DENIED = "AccessDenied"


@dataclass(frozen=True)
class SignedRequest:
    """One HTTP request.

    path:    as sent, percent-encoded.
    headers: names in small letters; the values of a repeated one are joined by a comma.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""
    parameters: Mapping[str, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", urllib.parse.parse_qs(self.query, keep_blank_values=True))

    def parameter(self, name: str) -> str:
        """The first value of a parameter of the address; empty when it is missing."""
        return self.parameters.get(name, [""])[0]

    def with_body(self, body: bytes) -> "SignedRequest":
        """The same call with its body."""
        return SignedRequest(self.method, self.path, self.query, self.headers, body)

    @property
    def is_form(self) -> bool:
        """Whether it can only be an upload form: POST of form data to a bucket, with no other say in what it does."""
        return (
            self.method == "POST"
            and not self.query
            and re.fullmatch(r"/[^/]+/?", self.path) is not None
            and self.headers.get("content-type", "").lower().startswith("multipart/form-data")
            and not any(name.startswith("x-amz-") or name == "authorization" for name in self.headers)
        )


Find = Callable[[str, str], Caller]
"""(access key id, session token) -> the caller with these credentials. Raises Refused."""


def access_key_id(call: SignedRequest) -> str:
    """The key that the caller claims, not yet checked; empty when the call is not signed."""
    credential = re.search(r"Credential=([^/,\s]+)/", call.headers.get("authorization", ""))
    return credential[1] if credential else call.parameter("X-Amz-Credential").partition("/")[0]


def is_version_2(call: SignedRequest) -> bool:
    """Whether the call is signed in the way before Signature Version 4, in a header or in the address."""
    return call.headers.get("authorization", "").startswith("AWS ") or "AWSAccessKeyId" in call.parameters


def signed_service(call: SignedRequest) -> str:
    """The service that the signature is for, as `s3` or `ec2`; empty when it names none."""
    scope = re.search(r"Credential=([^,\s]+)", call.headers.get("authorization", ""))
    parts = (scope[1] if scope else call.parameter("X-Amz-Credential")).split("/")
    return parts[3] if len(parts) == 5 else ""


def form_parameters(call: SignedRequest) -> Mapping[str, list[str]]:
    """The parameters in the body of a call of the query protocol; empty for other calls."""
    if not call.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return {}
    return urllib.parse.parse_qs(call.body.decode(errors="replace"), keep_blank_values=True)


def actions(call: SignedRequest) -> list[str]:
    """What a call of the query or JSON protocol says it wants: one name, or the call can be read in several ways."""
    target = call.headers.get("x-amz-target", "").rpartition(".")[2]
    told = [*call.parameters.get("Action", []), *form_parameters(call).get("Action", [])]
    return [name for name in (target, *told) if name]


def check(call: SignedRequest, find: Find, now: datetime) -> Caller:
    """Check a signature in a header or in the address, and return who made it. Raises Refused."""
    presigned = "authorization" not in call.headers
    signature = (
        sigv4.parse_query_signature(call.parameters) if presigned else sigv4.parse_header_signature(call.headers)
    )
    if isinstance(signature, tuple):
        raise Refused(*signature)
    if signature.region_set is not None:
        raise Refused("UnsupportedSignature", "Signature Version 4A is not supported: use AWS4-HMAC-SHA256")
    if not _HASH.fullmatch(signature.signature):
        raise Refused("SignatureDoesNotMatch", sigv4.SIGNATURE_MISMATCH)
    _check_headers(call, signature.signed_headers.split(";"))
    if presigned:
        _check_expiry(call, signature.amz_date, now)
    # All services allow 15 minutes here, as S3 does.
    elif skewed := sigv4.request_time_failure(replace(signature, service="s3"), now=now):
        raise Refused(*skewed)
    token = call.parameter("X-Amz-Security-Token") if presigned else call.headers.get("x-amz-security-token", "")
    caller = find(signature.access_key_id, token)
    failure = sigv4.header_signature_failure(
        signature,
        caller.secret_access_key,
        call.method,
        call.path,
        call.parameters,
        call.headers,
        call.body,
        presigned=presigned,
    )
    if failure:
        raise Refused(*failure)
    if not presigned:
        _check_body(call, signature.service)
    return caller


def _check_headers(call: SignedRequest, signed: list[str]) -> None:
    """What decides over the call is signed: else a signature for one call would serve for another."""
    decisive = {"host"} | {name for name in call.headers if name.startswith("x-amz-")}
    if missing := decisive - set(signed):
        raise Refused("IncompleteSignature", f"Headers that must be signed are not: {', '.join(sorted(missing))}")


def _check_body(call: SignedRequest, service: str) -> None:
    """The body is the signed one. Without x-amz-content-sha256 the signature holds the body's hash itself."""
    said = call.headers.get("x-amz-content-sha256", "")
    if not said or (service == "s3" and not _HASH.fullmatch(said)):
        return
    if not hmac.compare_digest(said, hashlib.sha256(call.body).hexdigest()):
        raise Refused("SignatureDoesNotMatch", "The body is not the one that was signed")


def _check_expiry(call: SignedRequest, signed_at: str, now: datetime) -> None:
    expires = call.parameter("X-Amz-Expires")
    if not expires.isdecimal() or not 0 < int(expires) <= LONGEST_EXPIRY_SECONDS:
        raise Refused("IncompleteSignature", "X-Amz-Expires must be a number of seconds, a week at most")
    try:
        early = datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) - timedelta(minutes=15) > now
        late = sigv4.presigned_request_is_expired(signed_at, expires, now=now)
    except ValueError:
        raise Refused("IncompleteSignature", "X-Amz-Date is not a date") from None
    if early or late:
        raise Refused("RequestExpired", "Request has expired")


def check_form(fields: Mapping[str, str], find: Find) -> Caller:
    """Check the signature of an upload form's policy, and return who made it. Raises Refused.

    The policy's conditions and its expiry are the store's to check: it reads the same fields.
    """
    scope = fields.get("x-amz-credential", "").split("/")
    if len(scope) != 5 or not fields.get("policy"):
        raise Refused(_DENIED, "The form is not signed")
    key, day, region, service, _ = scope
    caller = find(key, fields.get("x-amz-security-token", ""))
    expected = sigv4.calculate_signature(caller.secret_access_key, day, region, service, fields["policy"])
    if not sigv4.signatures_match(expected.encode(), fields.get("x-amz-signature", "").encode()):
        raise Refused("SignatureDoesNotMatch", sigv4.SIGNATURE_MISMATCH)
    return caller
