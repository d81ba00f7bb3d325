"""Signatures of calls: those of botocore are accepted; whatever is changed afterwards is refused. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import get_current_datetime
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from local_cloud.guard import signatures
from local_cloud.guard.callers import Callers
from local_cloud.guard.gate import Gate, names_this_machine
from local_cloud.guard.keys import CloudKeys
from local_cloud.guard.permissions import Permissions
from local_cloud.guard.policies import PolicyFile
from local_cloud.guard.refusal import Refused
from local_cloud.guard.sessions import RoleSession, SessionKeys
from local_cloud.guard.signatures import SignedRequest
from local_cloud.guard.used_permissions import UsedPermissions

KEYS = CloudKeys("AKIAOWNER", "secret", "session secret")
HOST = "127.0.0.1:4000"
ROLE_SECRET, ROLE_TOKEN = SessionKeys(KEYS.session_secret, lambda: 0.0).issue(
    RoleSession("ASIAROLE", "worker", "i-1", 2e9)
)


def gate(now: datetime | None = None) -> Gate:
    at = now or get_current_datetime(remove_tzinfo=False)
    nothing = Permissions(PolicyFile(Path("/nowhere")), lambda _: (), "us-east-1", UsedPermissions(Path("/nowhere")))
    return Gate(Callers(KEYS, SessionKeys(KEYS.session_secret, at.timestamp)), nothing, now=lambda: at)


def sign(
    method: str = "POST",
    path: str = "/",
    *,
    service: str = "sqs",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    pair: Credentials | None = None,
) -> SignedRequest:
    """The call as botocore signs and sends it."""
    request = AWSRequest(method, f"http://{HOST}{path}", data=body, headers=dict(headers or {}))
    auth: Any = S3SigV4Auth if service == "s3" else SigV4Auth
    auth(pair or Credentials(KEYS.access_key_id, KEYS.secret_access_key), service, "us-east-1").add_auth(request)
    return received(request)


def received(request: AWSRequest) -> SignedRequest:
    prepared = request.prepare()
    path, _, query = str(prepared.url).removeprefix(f"http://{HOST}").partition("?")
    headers = {name.lower(): str(value) for name, value in prepared.headers.items()} | {"host": HOST}
    return SignedRequest(str(prepared.method), path, query, headers, prepared.body or b"")


def presign(seconds: int = 60) -> SignedRequest:
    request = AWSRequest("GET", f"http://{HOST}/bucket/a%20photo.png")
    S3SigV4QueryAuth(
        Credentials(KEYS.access_key_id, KEYS.secret_access_key), "s3", "us-east-1", expires=seconds
    ).add_auth(request)
    return received(request)


def changed(call: SignedRequest, **parts: Any) -> SignedRequest:
    whole = {name: getattr(call, name) for name in ("method", "path", "query", "headers", "body")}
    return SignedRequest(**{**whole, **parts})


@given(body=st.binary(max_size=50), name=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9))
def test_what_botocore_signs_is_accepted(body: bytes, name: str) -> None:
    assert gate().check(sign("PUT", f"/bucket/x{quote(name)}", service="s3", body=body)).role is None
    assert gate().check(sign("POST", f"/?a={quote(name, safe='')}&b", service="ec2", body=body)).role is None


def test_a_role_is_known_by_its_token() -> None:
    caller = gate().check(sign(pair=Credentials("ASIAROLE", ROLE_SECRET, ROLE_TOKEN)))
    assert (caller.role, caller.session) == ("worker", "i-1")


@pytest.mark.parametrize(
    "change",
    [
        {"method": "GET"},
        {"path": "/other"},
        {"query": "x=1"},
        {"body": b"other"},
        {"headers": {"x-amz-target": "AmazonSQS.DeleteQueue"}},
        {"headers": {"x-amz-copy-source": "/bucket/secret"}},
        {"headers": {"host": "127.0.0.1:5000"}},
        {"headers": {"x-amz-date": "20200101T000000Z"}},
        {"headers": {"x-amz-security-token": "a.b"}},
    ],
    ids=str,
)
@pytest.mark.parametrize("service", ["s3", "sqs"])
def test_a_signature_holds_for_one_call_alone(service: str, change: dict[str, Any]) -> None:
    call = sign(service=service, body=b"body", headers={"X-Amz-Target": "AmazonSQS.SendMessage"})
    parts = {**change, "headers": {**call.headers, **change.get("headers", {})}}
    with pytest.raises(Refused):
        gate().check(changed(call, **parts))


@pytest.mark.parametrize(
    "pair",
    [
        Credentials("test", "test"),
        Credentials("123456789012", "test"),
        Credentials(KEYS.access_key_id, "wrong"),
        Credentials(KEYS.access_key_id, ""),
        Credentials("ASIAROLE", ROLE_SECRET),
        Credentials("ASIAOTHER", ROLE_SECRET, ROLE_TOKEN),
        Credentials(KEYS.access_key_id, KEYS.secret_access_key, ROLE_TOKEN),
        Credentials("ASIAROLE", ROLE_SECRET, f"{ROLE_TOKEN}0"),
    ],
    ids=lambda pair: f"{pair.access_key} {pair.secret_key[:6]} {(pair.token or '')[-6:]}",
)
def test_other_keys_are_refused(pair: Credentials) -> None:
    with pytest.raises(Refused):
        gate().check(sign(pair=pair))


@pytest.mark.parametrize(("minutes", "fits"), [(-16, False), (-14, True), (14, True), (16, False)])
def test_clocks_may_differ_by_fifteen_minutes(minutes: int, fits: bool) -> None:
    call, now = sign(service="ec2"), datetime.now(UTC) + timedelta(minutes=minutes)
    if fits:
        gate(now).check(call)
    else:
        with pytest.raises(Refused) as found:
            gate(now).check(call)
        assert found.value.code == "RequestTimeTooSkewed"


def test_credentials_of_a_role_end() -> None:
    sessions = SessionKeys("s", lambda: 100.0)
    secret, token = sessions.issue(RoleSession("ASIA1", "worker", "i-1", 100.5))
    assert sessions.check("ASIA1", token) == (RoleSession("ASIA1", "worker", "i-1", 100.5), secret)
    with pytest.raises(Refused) as found:
        SessionKeys("s", lambda: 101.0).check("ASIA1", token)
    assert found.value.code == "ExpiredTokenException"
    with pytest.raises(Refused):
        SessionKeys("another", lambda: 100.0).check("ASIA1", token)


@pytest.mark.parametrize(("after", "fits"), [(0, True), (59, True), (61, False), (-16 * 60, False)])
def test_a_signed_address_holds_for_its_time(after: int, fits: bool) -> None:
    call, now = presign(), datetime.now(UTC) + timedelta(seconds=after)
    if fits:
        gate(now).check(call)
    else:
        with pytest.raises(Refused):
            gate(now).check(call)


@pytest.mark.parametrize("seconds", [0, -5, 8 * 24 * 3600])
def test_a_signed_address_holds_a_week_at_most(seconds: int) -> None:
    with pytest.raises(Refused):
        gate().check(presign(seconds))


@pytest.mark.parametrize(
    "change",
    [
        {"method": "PUT"},
        {"path": "/bucket/other.png"},
        {"headers": {"host": HOST, "x-amz-copy-source": "/bucket/other"}},
        {"headers": {"host": "127.0.0.1:5000"}},
    ],
    ids=str,
)
def test_a_signed_address_cannot_be_changed(change: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        gate().check(changed(presign(), **change))


@given(authorization=st.text(max_size=200), query=st.text(max_size=100), date=st.text(max_size=20))
def test_nonsense_is_refused_and_breaks_nothing(authorization: str, query: str, date: str) -> None:
    for header in (authorization, f"AWS4-HMAC-SHA256 Credential=AKIAOWNER/{authorization}"):
        headers = {"host": HOST, "authorization": header, "x-amz-date": date}
        with pytest.raises(Refused):
            gate().check(SignedRequest("GET", "/", query, headers))
    with pytest.raises(Refused):
        gate().check(
            SignedRequest("GET", "/", f"X-Amz-Credential=AKIAOWNER/1/2/3/4&X-Amz-Date={date}&{query}", {"host": HOST})
        )


@given(fields=st.dictionaries(st.sampled_from(["policy", "x-amz-signature", "x-amz-credential"]), st.text(max_size=50)))
def test_nonsense_in_a_form_is_refused(fields: dict[str, str]) -> None:
    find = Callers(KEYS, SessionKeys(KEYS.session_secret, lambda: 0.0)).find
    of_the_owner = {"policy": "p", "x-amz-credential": "AKIAOWNER/1/us-east-1/s3/aws4_request"}
    for form in (fields, {**fields, **of_the_owner}):
        with pytest.raises(Refused):
            signatures.check_form(form, find)


@given(token=st.text(max_size=60))
def test_a_token_that_we_did_not_make_is_refused(token: str) -> None:
    with pytest.raises(Refused):
        SessionKeys("s", lambda: 0.0).check("ASIA1", token)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:80", "localhost", "LOCALHOST:9", "[::1]:80", "10.0.0.7:80"])
def test_this_machine_is_localhost_or_an_address(host: str) -> None:
    assert names_this_machine(host)


@pytest.mark.parametrize("host", ["", "evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil:80"])
def test_other_names_are_not_this_machine(host: str) -> None:
    assert not names_this_machine(host)
