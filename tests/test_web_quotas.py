"""How many photos a user may send, have waiting and label once more, and how many batches without a photo."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from shoal.accounts.users import Users
from shoal.clock import SystemClock
from shoal.memory import ManualClock, memory_cloud
from shoal.messages import Result
from tests.inference_fixtures import cache_dir
from tests.test_web_sign_in import PASSWORD, SECRET, People, signed_in
from tests.web_fixtures import jpeg, running_site
from web_tier.access import empty_batches
from web_tier.access.empty_batches import EmptyBatches
from web_tier.access.person import Person
from web_tier.access.quotas import Quotas
from web_tier.access.rights import Right
from web_tier.problems import Problem


@pytest.fixture
def limited() -> Iterator[People]:
    """A site with quotas, whose worker does not work yet."""
    cloud = memory_cloud(SystemClock())
    for name in ("alice", "bob"):
        Users(cloud.outputs).add(name, PASSWORD)
    quotas = {"user_photos_a_day": 4, "user_photos_waiting": 3}
    with running_site(cloud, work=False, sign_in="on", operator_secret=SECRET, **quotas) as site:
        yield People(
            site, signed_in(site, "alice"), signed_in(site, "bob"), signed_in(site, "operator", SECRET), batch=""
        )


def send(people: People, who: requests.Session, count: int) -> requests.Response:
    forms = [("inputFile", (f"{number}.jpg", jpeg(), "image/jpeg")) for number in range(count)]
    return people.ask(who, "POST", "/v1/batches", files=forms)


def test_a_user_may_send_and_have_waiting_so_many_photos(limited: People) -> None:
    assert send(limited, limited.alice, 2).status_code == 202
    refused = send(limited, limited.alice, 2)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "5")
    assert "3 photos waiting for labels. There is room for 1 now, and this request has more" in refused.text
    assert send(limited, limited.bob, 3).status_code == 202
    assert send(limited, limited.operator, 5).status_code == 202  # operators have no quota
    while limited.site.worker.step():
        pass
    assert send(limited, limited.alice, 2).status_code == 202
    while limited.site.worker.step():
        pass
    refused = send(limited, limited.alice, 1)
    assert "You may send 4 photos a day. 0 photos are left until midnight UTC." in refused.text
    assert 0 < int(refused.headers["Retry-After"]) <= 24 * 3600 + 1
    uploads = {"photos": [{"name": f"{number}.jpg"} for number in range(2)]}
    assert limited.ask(limited.bob, "POST", "/v1/uploads", json=uploads).status_code == 429


def test_photos_that_are_labelled_once_more_count(limited: People) -> None:
    batch = send(limited, limited.alice, 2).json()["batch"]
    for photo in limited.site.server._services.batches.read(batch).photos:
        failed = Result.failed(photo.job.key, "the worker ended")
        limited.site.cloud.outputs.put(failed.key, failed.to_json().encode(), "application/json")
    retry = f"/v1/batches/{batch}/retry"
    assert limited.ask(limited.alice, "POST", retry).json() == {"retried": 2}
    for photo in limited.site.server._services.batches.read(batch).photos:
        failed = Result.failed(photo.job.key, "the worker ended again")
        limited.site.cloud.outputs.put(failed.key, failed.to_json().encode(), "application/json")
    refused = limited.ask(limited.alice, "POST", retry)
    assert refused.status_code == 429
    assert "You may send 4 photos a day. 0 photos are left until midnight UTC" in refused.text
    assert [photo.state for photo in limited.site.server._services.batches.read(batch).photos] == ["failed"] * 2


def test_a_user_may_begin_so_many_batches_without_a_photo(limited: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(empty_batches, "MOST", 3)
    begun = [limited.ask(limited.alice, "POST", "/batches") for _ in range(4)]
    assert [one.status_code for one in begun] == [201, 201, 201, 429]
    assert "You have begun 3 batches that have no photo" in begun[3].text
    assert 0 < int(begun[3].headers["Retry-After"]) <= 3601
    assert limited.ask(limited.bob, "POST", "/batches").status_code == 201
    files = [("inputFile", ("a.jpg", jpeg(), "image/jpeg"))]
    filled = f"/batches/{begun[0].json()['batch']}/photos"
    assert limited.ask(limited.alice, "POST", filled, files=files).ok
    assert limited.ask(limited.alice, "POST", "/batches").status_code == 201


def test_batches_without_a_photo_are_forgotten_after_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(empty_batches, "MOST", 1)
    monkeypatch.setattr(empty_batches, "MOST_KNOWN", 2)
    empty = EmptyBatches(clock := ManualClock(1e9))
    empty.begin("a1", "a")
    empty.begin("a1", "a")  # the same once more
    with pytest.raises(Problem, match="no photo"):
        empty.begin("a2", "a")
    clock.wait(empty_batches.FORGOTTEN_SECONDS + 1)
    empty.begin("a2", "a")
    empty.begin("b1", "b")
    empty.begin("c1", "c")  # now a's is forgotten, because all together are too many
    empty.begin("a3", "a")


def test_what_was_sent_today_counts_in_every_process_and_after_a_restart(limited: People) -> None:
    who = Person("u-alice", "alice", frozenset({Right.LABEL}))
    outputs, clock = limited.site.cloud.outputs, ManualClock(1e9)

    def process() -> Quotas:
        return Quotas(3, 0, outputs, clock, lambda _: 0)

    def take(quotas: Quotas, count: int) -> None:
        with quotas.request(who) as one:
            for _ in range(count):
                one()

    take(process(), 2)
    second = process()
    with pytest.raises(Problem, match="1 photo is left until midnight UTC, and this request has more"):
        take(second, 2)
    take(second, 1)  # the refused request does not count
    with pytest.raises(Problem, match="0 photos are left"):
        take(process(), 1)
    clock.wait(24 * 3600)
    take(second, 3)


def test_of_a_request_that_is_cut_what_was_labelled_counts() -> None:
    cloud = memory_cloud(SystemClock())
    Users(cloud.outputs).add("alice", PASSWORD)
    local: dict[str, Any] = {
        "venue": "local",
        "cache_dir": cache_dir(),
        "precision": "float32",
        "user_photos_a_day": 10,
    }
    photo = b'--B\r\nContent-Disposition: form-data; name="inputFile"; filename="a.jpg"\r\n\r\n' + jpeg() + b"\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=B"}
    with running_site(cloud, work=False, sign_in="on", operator_secret=SECRET, **local) as site:
        alice = signed_in(site, "alice")
        cut = alice.post(f"{site.url}/v1/batches", photo * 9 + photo[:-20], headers=kind, timeout=60)
        assert cut.status_code == 400
        files = [("inputFile", (f"{number}.jpg", jpeg(), "image/jpeg")) for number in range(3)]
        refused = alice.post(f"{site.url}/v1/batches", files=files, timeout=60)
        assert "You may send 10 photos a day. 2 photos are left" in refused.text
