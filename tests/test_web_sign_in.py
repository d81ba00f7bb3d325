"""Where people sign in: who may do what, whose a batch is, and share links that can be revoked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.accounts.api_keys import ApiKeys
from shoal.accounts.bearer import bearer
from shoal.accounts.users import Users
from shoal.buckets.folder_store import FolderStore
from shoal.clock import SystemClock
from shoal.errors import Permanent
from shoal.memory import memory_cloud
from shoal_cli.__main__ import shoal as shoal_command
from tests.test_web_bodies import MB, Target, status
from tests.web_fixtures import Site, jpeg, running_site
from web_tier.access.recently import Recently
from web_tier.access.rights import Right, needed
from web_tier.app import create_app

SECRET = "sixteen or more letters"
PASSWORD = "ten letters and more"
PAGE = {"Accept": "text/html,application/xhtml+xml"}
PHOTO: dict[str, Any] = {"files": {"inputFile": ("a.jpg", jpeg(), "image/jpeg")}}


@dataclass
class People:
    """A site where people sign in, a browser for each of them, and a finished batch and a run of alice's."""

    site: Site
    alice: requests.Session
    bob: requests.Session
    operator: requests.Session
    batch: str
    run: str = ""

    def ask(self, who: requests.Session, method: str, path: str, **options: Any) -> requests.Response:
        return who.request(method, self.site.url + path, timeout=20, allow_redirects=False, **options)


def signed_in(site: Site, name: str, password: str = PASSWORD) -> requests.Session:
    """A browser, after somebody tried to sign in."""
    browser = requests.Session()
    browser.post(f"{site.url}/sign-in", {"name": name, "password": password}, timeout=20)
    return browser


@pytest.fixture(scope="module")
def people() -> Iterator[People]:
    cloud = memory_cloud(SystemClock())
    for name in ("alice", "bob"):
        Users(cloud.outputs).add(name, PASSWORD)
    with running_site(cloud, sign_in="on", operator_secret=SECRET, run_sources="s3://photos") as site:
        alice, bob, operator = (
            signed_in(site, name, password)
            for name, password in (("Alice ", PASSWORD), ("bob", PASSWORD), ("operator", SECRET))
        )
        reply = alice.post(f"{site.url}/v1/batches", headers={"Prefer": "wait=20"}, timeout=30, **PHOTO)
        run = alice.post(f"{site.url}/v1/runs", json={"source": "s3://photos"}, timeout=20).json()["run"]
        yield People(site, alice, bob, operator, reply.json()["batch"], run)


def test_nobody_sees_or_changes_the_batch_of_another_on_any_route(people: People) -> None:
    app = create_app(people.site.settings, people.site.cloud, SystemClock())
    values = {"batch": people.batch, "index": 0, "filename": "shoal.css", "name": "-", "version": "-", "file": "-"}
    values |= {"run": people.run, "shard": 0, "line": 0}
    routes = [
        (method, rule.build(values)[1].partition("?")[0], rule)  # type: ignore[index]
        for rule in app.url_map.iter_rules()
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"})  # type: ignore[operator]
    ]
    looked = 0
    for method, path, rule in routes:
        right = needed(app, rule.endpoint)
        if right is Right.NOTHING:
            continue
        looked += 1
        assert people.ask(requests.Session(), method, path).status_code == 401, path
        to_sign_in = people.ask(requests.Session(), method, path, headers=PAGE)
        assert to_sign_in.headers["Location"].startswith("/sign-in?next="), path
        for stranger in (people.bob, people.operator):
            reply = people.ask(stranger, method, path)
            if "batch" in rule.arguments:
                assert (reply.status_code, "unknown" in reply.text) == (404, True), path
            elif "run" in rule.arguments:  # operators see and steer all runs
                unknown = (reply.status_code, "unknown" in reply.text) == (404, True)
                assert unknown is (stranger is people.bob), path
            elif right is Right.OPERATE:
                assert ("Only operators" in reply.text) == (stranger is people.bob), path
    assert looked > 30
    photo = people.ask(people.alice, "GET", f"/v1/batches/{people.batch}/photos/0").json()
    assert (photo["state"], photo.get("correction")) == ("done", None)


def test_to_its_owner_a_batch_is_as_ever(people: People) -> None:
    for path in ("", ".json", ".csv", "/status", "/photos/0/thumbnail", "/photos/0/more"):
        assert people.ask(people.alice, "GET", f"/batches/{people.batch}{path}").status_code == 200, path
    assert people.ask(people.alice, "POST", f"/batches/{people.batch}/cancel").status_code == 200
    body = {"photos": [{"name": "b.jpg"}], "batch": people.batch}
    assert people.ask(people.bob, "POST", "/v1/uploads", json=body).status_code == 404
    listed = people.ask(people.alice, "GET", "/v1/batches").json()["batches"]
    assert people.batch in [one["batch"] for one in listed]
    assert f"/batches/{people.batch}" in people.ask(people.alice, "GET", "/batches").text
    assert people.batch not in people.ask(people.bob, "GET", "/batches").text


def test_of_a_deleted_batch_nobody_keeps_anything(people: People) -> None:
    batch = people.ask(people.alice, "POST", "/v1/batches", headers={"Prefer": "wait=20"}, **PHOTO).json()["batch"]
    people.ask(people.alice, "POST", f"/v1/batches/{batch}/share")
    assert people.ask(people.alice, "DELETE", f"/v1/batches/{batch}").ok
    kept = [one.key for one in people.site.cloud.outputs.list("") if batch in one.key]
    assert kept == [f"deleted/{batch}"]
    assert batch not in people.ask(people.alice, "GET", "/batches").text


def test_a_share_link_lets_others_look_until_it_is_revoked(people: People) -> None:
    link = people.ask(people.alice, "POST", f"/v1/batches/{people.batch}/share").json()["link"]
    guest = requests.Session()
    guest.headers.update(PAGE)
    opened = guest.get(link, timeout=20)
    assert opened.url == f"{people.site.url}/batches/{people.batch}"  # no token stays in the address
    assert 'id="cancel"' not in opened.text
    assert link.rpartition("=")[2] not in opened.text
    for path in (".csv", "/photos/0/thumbnail", "/photos/0/more"):
        assert people.ask(guest, "GET", f"/batches/{people.batch}{path}").status_code == 200, path
    for path in ("cancel", "retry", "unshare", "delete", "photos/0/correction"):
        assert "/sign-in" in people.ask(guest, "POST", f"/batches/{people.batch}/{path}").headers["Location"]
    token = {"share": link.rpartition("=")[2]}
    assert people.ask(requests.Session(), "GET", f"/v1/batches/{people.batch}", params=token).ok
    assert people.ask(people.bob, "GET", f"/v1/batches/{people.batch}", params=token).ok
    assert people.ask(people.bob, "POST", f"/batches/{people.batch}/cancel", params=token).status_code == 404

    assert people.ask(people.alice, "POST", f"/v1/batches/{people.batch}/unshare").json()["link"] is None
    assert people.ask(guest, "GET", f"/batches/{people.batch}.csv").status_code == 303
    assert people.ask(people.bob, "GET", f"/v1/batches/{people.batch}", params=token).status_code == 404
    again = people.ask(people.alice, "POST", f"/v1/batches/{people.batch}/share").json()["link"]
    assert again != link
    people.ask(people.alice, "POST", f"/v1/batches/{people.batch}/unshare")


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=60), st.booleans())
def test_no_invented_token_opens_anything(people: People, token: str, by_header: bool) -> None:
    path = f"/v1/batches/{people.batch}"
    headers = {"Cookie": f"test-session={token}; test-share-{people.batch}={token}".encode("latin-1")}
    if by_header:
        headers = {"Authorization": f"Bearer {token}".encode("latin-1")}
    assert people.ask(requests.Session(), "GET", path, params={"share": token}, headers=headers).status_code == 401


def test_the_same_idempotency_key_of_two_people_makes_two_batches(people: People) -> None:
    key = {"Idempotency-Key": "the-same-for-both"}
    batches = [
        people.ask(who, "POST", "/v1/batches", headers=key, **PHOTO).json()["batch"]
        for who in (people.alice, people.bob, people.alice)
    ]
    assert batches[0] == batches[2] != batches[1]
    assert people.ask(people.bob, "GET", f"/v1/batches/{batches[1]}").ok


def test_a_session_ends_with_sign_out_a_new_password_or_its_user(people: People) -> None:
    users = Users(people.site.cloud.outputs)
    users.add("carol", PASSWORD)
    first, second = signed_in(people.site, "carol"), signed_in(people.site, "carol")
    form = people.ask(first, "GET", "/batches").text.partition('name="token" value="')[2].partition('"')[0]
    assert people.ask(first, "POST", "/sign-out", data={"token": "another"}).status_code == 403
    kept = first.cookies.get_dict()
    assert people.ask(first, "POST", "/sign-out", data={"token": form}).headers["Location"] == "/sign-in"
    first.cookies.update(kept)
    assert people.ask(first, "GET", "/v1/batches").status_code == 401

    entrance = people.site.server._services.entrance
    users.set_password("carol", PASSWORD + "!")
    entrance._by_session.forget(second.cookies["test-session"])  # otherwise five seconds later
    assert people.ask(second, "GET", "/v1/batches").status_code == 401
    third = signed_in(people.site, "carol", PASSWORD + "!")
    assert people.ask(third, "GET", "/v1/batches").ok
    users.remove("carol")
    users.add("carol", PASSWORD)  # somebody else of this name
    entrance._by_session.forget(third.cookies["test-session"])
    assert people.ask(third, "GET", "/v1/batches").status_code == 401


def test_wrong_passwords_cost_time_and_tell_nothing() -> None:
    cloud = memory_cloud(SystemClock())
    Users(cloud.outputs).add("alice", PASSWORD)
    with running_site(cloud, work=False, sign_in="on") as site:
        told = []
        for name in ("alice", "nobody", "operator"):
            reply = requests.post(f"{site.url}/sign-in", {"name": name, "password": ""}, timeout=20)
            told.append((reply.status_code, reply.text.replace(f'value="{name}"', "")))
        assert told[0] == told[1] == told[2]
        assert told[0][0] == 403
        reply = requests.post(f"{site.url}/sign-in", {"name": "alice", "password": PASSWORD}, timeout=20)
        assert (reply.status_code, reply.headers["Retry-After"]) == (429, "1")


@pytest.mark.parametrize("following", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", ""])
def test_after_signing_in_nobody_is_sent_to_another_site(people: People, following: str) -> None:
    form = {"name": "bob", "password": PASSWORD, "next": following}
    assert people.ask(requests.Session(), "POST", "/sign-in", data=form).headers["Location"] == "/"
    reply = people.ask(requests.Session(), "POST", "/sign-in", data=form | {"next": "/batches?a=b"})
    assert reply.headers["Location"] == "/batches?a=b"
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(reply.headers["Set-Cookie"].split("; "))


def as_program(key: str) -> requests.Session:
    program = requests.Session()
    program.auth = bearer(key)
    return program


def test_a_key_may_do_what_its_scopes_say_until_it_is_revoked(people: People, caplog: pytest.LogCaptureFixture) -> None:
    outputs = people.site.cloud.outputs
    keys, alice = ApiKeys(outputs, SystemClock()), Users(outputs).find("alice")
    assert alice is not None
    own, own_text = keys.add("camera", ["read", "label"])
    both = [as_program(own_text), as_program(keys.add("of alice", ["label"], alice.name, alice.id)[1])]
    batches = []
    for program in both:
        reply = people.ask(program, "POST", "/v1/batches", headers={"Prefer": "wait=20"}, **PHOTO)
        batches.append(reply.json()["batch"])
    camera, of_alice = both
    assert people.ask(camera, "GET", f"/v1/batches/{batches[0]}").ok
    assert people.ask(people.alice, "GET", f"/v1/batches/{batches[1]}").ok
    for stranger, batch in ((camera, batches[1]), (people.alice, batches[0]), (people.operator, batches[0])):
        assert people.ask(stranger, "GET", f"/v1/batches/{batch}").status_code == 404
    assert [one["batch"] for one in people.ask(camera, "GET", "/v1/batches").json()["batches"]] == [batches[0]]
    for program, path, word in ((of_alice, "/v1/batches", "read"), (camera, "/fleet.json", "operators")):
        refused = people.ask(program, "GET", path)
        assert (refused.status_code, word in refused.json().get("detail", refused.json().get("error"))) == (403, True)
    operator = as_program(keys.add("cron", ["operate"])[1])
    assert people.ask(operator, "GET", "/fleet.json").ok
    assert people.ask(operator, "POST", "/fleet/redrive").status_code == 303  # a program has no form's token
    assert people.ask(operator, "GET", "/v1/batches").status_code == 403

    [found] = [key for key in keys.all() if key.id == own.id]
    assert (found.name, found.scopes, found.used_at > 0) == ("camera", ("label", "read"), True)
    stored = b"".join(outputs.get(one.key) for one in outputs.list("accounts/"))
    assert own_text.split("_", 2)[2].encode() not in stored
    keys.revoke(own.id)
    people.site.server._services.entrance._by_key.forget(own_text)
    refused = people.ask(camera, "GET", "/v1/models")
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, 'Bearer realm="Shoal"')
    assert "revoked" in refused.json()["detail"]
    assert own_text not in caplog.text


SESSION = "Cookie: test-session=guess\r\n"
EXPECTS = "Expect: 100-continue\r\n"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [("", 401), (SESSION, 401), ("Authorization: Bearer guess\r\n", 401), ("KEY", 403), (EXPECTS, 401)],
)
def test_a_large_form_of_who_may_not_send_it_is_refused_before_it_has_come(
    people: People, shown: str, expected: int
) -> None:
    if shown == "KEY":
        text = ApiKeys(people.site.cloud.outputs, SystemClock()).add("reader", ["read"])[1]
        shown = f"Authorization: Bearer {text}\r\n"
    target = Target(people.site.url, psutil.Process())
    head = "POST /v1/batches HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=xyz\r\n"
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        while sent < 1_000 * MB and shown != EXPECTS:
            sent += MB
            yield bytes(MB)

    answer = target.send(f"{head}{shown}Content-Length: {10**10}\r\n\r\n", body())
    assert status(answer) == expected, answer
    assert "Connection: close" in answer
    assert sent < 200 * MB  # beyond what is dropped, so that the client sees the answer, the connection ends


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_form_of_a_user_is_taken_when_it_is_known_who_sends_it(people: People, chunked: bool) -> None:
    photo = jpeg() + bytes(3 * MB)
    form = (
        b'--xyz\r\nContent-Disposition: form-data; name="inputFile"; filename="a.jpg"\r\n\r\n%s\r\n--xyz--\r\n' % photo
    )
    body: Any = iter([form[:200], form[200:MB], form[MB:]]) if chunked else form
    headers = {"Content-Type": "multipart/form-data; boundary=xyz"}
    assert people.ask(people.alice, "POST", "/v1/batches", data=body, headers=headers).ok


def test_a_key_ends_with_its_user(people: People) -> None:
    users, keys = Users(people.site.cloud.outputs), ApiKeys(people.site.cloud.outputs, SystemClock())
    dora = users.add("dora", PASSWORD)
    program = as_program(keys.add("of dora", ["label", "read"], dora.name, dora.id)[1])
    assert people.ask(program, "GET", "/v1/batches").ok
    users.remove("dora")
    assert people.ask(program, "GET", "/v1/batches").status_code == 401


def test_this_process_may_call_itself(people: People) -> None:
    key = people.site.server._services.comparisons.key
    assert people.ask(as_program(key), "GET", "/venues.json").ok


@pytest.mark.parametrize(("name", "scopes"), [("", ["read"]), ("x", []), ("x", ["root"]), ("x" * 65, ["read"])])
def test_a_key_has_a_name_and_known_scopes(name: str, scopes: list[str]) -> None:
    with pytest.raises(Permanent):
        ApiKeys(memory_cloud(SystemClock()).outputs, SystemClock()).add(name, scopes)


def test_the_description_says_how_to_sign_in(people: People) -> None:
    described = requests.get(f"{people.site.url}/openapi.json", timeout=20).json()
    assert described["security"] == [{"apiKey": []}]
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert ("401" in operation["responses"]) == path.startswith("/v1/"), path
    assert {"get", "post"} <= set(described["paths"]["/v1/batches"])


def shoal(*arguments: str, text: str = "") -> Result:
    return CliRunner().invoke(shoal_command, arguments, input=text, catch_exceptions=False)


def test_the_commands_keep_users_and_keys_and_send_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, people: People
) -> None:
    kept = tmp_path / "served"
    (kept / "results").mkdir(parents=True)
    here = ("--results", str(kept))
    assert "can sign in" in shoal("users", "add", "alice", "--operator", *here, text=f"{PASSWORD}\n").output
    assert shoal("users", "list", *here).output.split() == ["alice", "operator"]
    assert "new password" in shoal("users", "password", "alice", *here, text=f"{PASSWORD}!\n").output
    text = shoal("keys", "add", "camera", "--user", "alice", *here).stdout.strip()
    store = FolderStore(kept / "results")
    key = ApiKeys(store, SystemClock()).find(text)
    assert key is not None
    assert (key.user, key.scopes) == ("alice", ("label", "read"))
    assert Users(store).signed("alice", f"{PASSWORD}!") is not None
    assert "camera" in shoal("keys", "list", *here).stdout
    assert "camera is revoked; web processes refuse it within 5 s" in shoal("keys", "revoke", key.id, *here).stdout
    assert shoal("keys", "list", *here).stdout == ""
    assert "no more" in shoal("users", "remove", "alice", *here).stdout

    photo, file = tmp_path / "a.jpg", tmp_path / "key"
    photo.write_bytes(jpeg())
    file.write_text(ApiKeys(people.site.cloud.outputs, SystemClock()).add("cli", ["label", "read"])[1] + "\n")
    monkeypatch.setenv("SHOAL_STATE_DIR", str(tmp_path))
    with pytest.raises(Permanent, match=r"401.*API key"):
        shoal("classify", str(photo), "--url", people.site.url)
    assert "a.jpg" in shoal("classify", str(photo), "--url", people.site.url, "--key", str(file)).stdout
    assert json.loads(shoal("batches", "--json", "--last", "1").stdout)["state"] == "refused"
    assert json.loads(shoal("batches", "--json", "--last", "1", "--key", str(file)).stdout)["state"] == "done"
    monkeypatch.setenv("SHOAL_API_KEY", file.read_text().strip())
    assert "a.jpg" in shoal("classify", str(photo), "--url", people.site.url).stdout
    assert json.loads(shoal("batches", "--json", "--last", "1").stdout)["state"] == "done"


def test_where_nobody_signs_in_there_is_nothing_to_share_or_list(people: People) -> None:
    with running_site(people.site.cloud, work=False) as site:
        assert requests.get(f"{site.url}/v1/batches/{people.batch}", timeout=20).ok
        for method, path, status in (
            ("GET", "/v1/batches", 405),
            ("GET", "/batches", 405),
            ("POST", f"/batches/{people.batch}/share", 404),
            ("GET", "/sign-in", 404),
        ):
            assert requests.request(method, site.url + path, timeout=20).status_code == status
        before = [one.key for one in site.cloud.outputs.list("accounts/")]
        assert requests.post(f"{site.url}/v1/batches", timeout=20, **PHOTO).ok
        assert [one.key for one in site.cloud.outputs.list("accounts/")] == before


def test_users_are_kept_as_hashes_under_checked_names() -> None:
    outputs = memory_cloud(SystemClock()).outputs
    users = Users(outputs)
    assert users.add("Alice@Example.org", PASSWORD, "operator").name == "alice@example.org"
    assert PASSWORD not in outputs.get("accounts/users/alice@example.org").decode()
    for name, password in (("alice@example.org", PASSWORD), ("operator", PASSWORD), ("../x", PASSWORD), ("x", "short")):
        with pytest.raises(Permanent):
            users.add(name, password)
    outputs.put("accounts/users/broken", b"{}", "application/json")
    assert [user.name for user in users.all()] == ["alice@example.org"]
    for unknown in (users.remove, lambda name: users.set_password(name, PASSWORD)):
        with pytest.raises(Permanent, match="no user"):
            unknown("bob")


def test_what_was_asked_is_asked_again_after_a_while() -> None:
    asked: list[str] = []
    recently, at_once = Recently(asked.append), Recently(asked.append, seconds=0.0)
    for question in ("a", "a", "b"):
        recently(question)
    recently.forget("a")
    recently("a")
    at_once("c")
    at_once("c")
    assert asked == ["a", "b", "a", "c", "c"]
