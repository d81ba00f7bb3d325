"""Bulk runs in the API and on the page: begun within the operator's lists, watched, steered, and read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from runs.records import RunRecords
from runs.run import Run
from runs.steering import Steering
from shoal.accounts.users import Users
from shoal.clock import SystemClock
from shoal.memory import memory_cloud
from shoal.messages import new_batch
from shoal.ports import Cloud
from tests.run_fixtures import SOURCES, TARGETS, store_photos, work
from tests.test_web_sign_in import PAGE, PASSWORD, SECRET, signed_in
from tests.web_fixtures import Site, running_site, settings
from web_tier.app import create_app
from web_tier.bulk import downloads, looking
from web_tier.bulk.rows import RunRows

FACTS = {"hash": True, "exif": ["time", "gps"]}
ASKED: dict[str, Any] = {"source": "s3://photos/2026/", "into": "s3://labels/run-1"}


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site(work=False, run_sources=SOURCES, run_targets=TARGETS, price_per_hour=0.1) as running:
        yield running


def ask(site: Site, method: str, path: str, **options: Any) -> requests.Response:
    return requests.request(method, site.url + path, timeout=20, allow_redirects=False, **options)


def begin(site: Site, **more: Any) -> str:
    reply = ask(site, "POST", "/v1/runs", json=ASKED | more)
    assert reply.status_code == 201, reply.text
    return str(reply.json()["run"])


def forget(site: Site, run: str) -> None:
    """Nobody waits a second for the next look."""
    services(site).runs.looker.changed(run)


def services(site: Site) -> Any:
    return site.server._services


def all_rows(site: Site, run: str, query: str) -> tuple[list[str], str | None]:
    """The keys of all rows that there are now, and the path at which one would go on."""
    path: str | None = f"/v1/runs/{run}/results?{query}"
    keys: list[str] = []
    while path:
        page = ask(site, "GET", path).json()
        keys += [row["key"] for row in page["rows"]]
        if not page["rows"]:
            return keys, page["next"]
        path = page["next"]
    return keys, None


def test_a_run_from_the_request_to_its_rows(site: Site) -> None:
    store_photos(site.cloud, 90, bad=3)
    reply = ask(site, "POST", "/v1/runs", json=ASKED | {"where": "*.jpg", "deadline": "6h", "top": 1} | FACTS)
    told = reply.json()
    run = told["run"]
    assert (reply.status_code, reply.headers["Location"]) == (201, f"/v1/runs/{run}")
    assert (told["state"], told["target"], told["listed"]) == ("listing", "s3://labels/run-1", 0)
    found = RunRecords(site.cloud.outputs).run(run)
    assert (found.top, found.where, found.hash, found.exif) == (1, "*.jpg", True, "gps,time")
    assert site.cloud.bulk.depth().total == 1  # the first message of the listing: this process has read no key
    work(site.cloud, 3)
    forget(site, run)
    told = ask(site, "GET", f"/v1/runs/{run}").json()
    assert (told["state"], told["listed"], told["done"], told["failed"]) == ("running", 90, 40, 3)
    assert told["images_per_second"] > 0
    assert told["seconds_left"] is not None
    assert (told["workers"], told["parts"], told["cost_by_part"]) == (0, [], None)
    keys, following = all_rows(site, run, "limit=7")
    assert len(keys) == len(set(keys)) == 40
    assert following  # the run goes on
    work(site.cloud)
    forget(site, run)
    told = ask(site, "GET", f"/v1/runs/{run}").json()
    assert (told["state"], told["labelled"], told["failed"], told["seconds_left"]) == ("done", 87, 3, None)
    assert [part["rows"] for part in told["parts"]] == [90]
    assert told["cost"] == told["cost_by_part"]["total"] > 0
    keys, following = all_rows(site, run, "limit=7")
    assert (sorted(keys), following) == ([f"2026/{number:04d}.jpg" for number in range(90)], None)
    assert all_rows(site, run, "status=failed&limit=2") == ([f"2026/{number:04d}.jpg" for number in range(3)], None)
    assert ask(site, "GET", f"/runs/{run}/labels.jsonl").text.count("\n") == 90
    assert [one["run"] for one in ask(site, "GET", "/v1/runs").json()["runs"]] == [run]


def test_a_run_that_has_ended_is_not_read_again_and_one_that_was_deleted_is_unknown(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_photos(site.cloud, 3)
    run = begin(site)
    work(site.cloud)
    forget(site, run)
    assert ask(site, "GET", f"/v1/runs/{run}").json()["state"] == "done"
    for one in list(site.cloud.outputs.list("runs/")):  # as retention does
        site.cloud.outputs.delete(one.key)
    assert ask(site, "GET", f"/v1/runs/{run}").json()["state"] == "done"
    monkeypatch.setattr(looking, "ENDED_SECONDS", 0.0)
    forget(site, run)
    assert ask(site, "GET", f"/v1/runs/{run}").status_code == 404
    assert ask(site, "GET", "/v1/runs").json()["runs"] == []


def test_what_a_run_will_take_is_told_before(site: Site) -> None:
    store_photos(site.cloud, 90)
    asked = ASKED | {"where": "000*.jpg"}
    told = ask(site, "POST", "/v1/forecasts", json=asked)
    assert told.status_code == 200
    assert (told.json()["images"], told.json()["more"]) == (10, False)
    assert told.json()["seconds"] == pytest.approx(10 * site.settings.expected_service_seconds)
    assert told.json()["cost"] > 0
    assert ask(site, "POST", "/v1/forecasts", json=ASKED | {"source": "s3://secret"}).status_code == 403
    page = ask(site, "GET", "/runs", params={"source": SOURCES, "limit": "50", "expect": "yes"}, headers=PAGE)
    assert (page.status_code, "50 photos, " in page.text, 'value="50"' in page.text) == (200, True, True)
    assert "about 25 s of one worker" in page.text
    refused = ask(site, "GET", "/runs", params={"source": "s3://secret", "expect": "yes"}, headers=PAGE)
    assert (refused.status_code, "SHOAL_RUN_SOURCES" in refused.text) == (403, True)
    assert site.cloud.bulk.depth().total == 0


def test_steered_by_a_program(site: Site) -> None:
    store_photos(site.cloud, 60, bad=2)
    run = begin(site)
    assert ask(site, "POST", f"/v1/runs/{run}/pause").json()["state"] == "paused"
    work(site.cloud)
    assert ask(site, "POST", f"/v1/runs/{run}/retry-failed").status_code == 409
    assert ask(site, "POST", f"/v1/runs/{run}/resume").json()["state"] == "listing"
    work(site.cloud)
    for verb in ("pause", "resume", "cancel"):
        reply = ask(site, "POST", f"/v1/runs/{run}/{verb}")
        assert (reply.status_code, reply.json()["detail"]) == (409, f"Run {run} is finished.")
    again = ask(site, "POST", f"/v1/runs/{run}/retry-failed")
    assert again.status_code == 201
    work(site.cloud)
    forget(site, again.json()["run"])
    told = ask(site, "GET", again.headers["Location"]).json()
    assert (told["source"], told["state"], told["done"]) == (f"failed photos of {run}", "done", 2)
    other = begin(site)
    work(site.cloud, 2)
    assert ask(site, "POST", f"/v1/runs/{other}/cancel").json()["state"] == "cancelled"
    work(site.cloud)
    assert len(all_rows(site, other, "")[0]) == 20


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ({"source": "s3://secret/x/"}, 403, "SHOAL_RUN_SOURCES. It allows s3://photos/2026/."),
        ({"source": "s3://photos/"}, 403, "SHOAL_RUN_SOURCES"),
        ({"source": "s3://photos/2026-private/"}, 403, "SHOAL_RUN_SOURCES"),
        ({"into": "s3://elsewhere/"}, 403, "SHOAL_RUN_TARGETS. It allows s3://labels/."),
        ({"source": "/etc"}, 400, "source"),
        ({"source": "s3:///x"}, 400, "not an address"),
        ({"deadline": "soon"}, 400, "deadline"),
        ({"fail_above": 2}, 400, "fail_above is not from 0 to 1"),
        ({"model": "none"}, 400, "none"),
        ({"webhook": "http://example.org/"}, 400, "SHOAL_WEBHOOK_SECRET"),
        ({"folder": "/etc"}, 400, "unknown field 'folder'"),
    ],
)
def test_what_is_not_allowed_is_refused_in_words(site: Site, change: dict[str, Any], status: int, told: str) -> None:
    reply = ask(site, "POST", "/v1/runs", json=ASKED | change)
    assert (reply.status_code, told in reply.json()["detail"]) == (status, True), reply.text
    assert site.cloud.bulk.depth().total == 0


def test_a_prefix_without_its_slash_means_the_folder(site: Site) -> None:
    store_photos(site.cloud, 3)
    site.cloud.buckets["photos"].put("2026-private/a.jpg", b"0" * 99, "image/jpeg")
    run = begin(site, source="s3://photos/2026")
    work(site.cloud)
    assert len(all_rows(site, run, "")[0]) == 3


def test_without_a_list_of_sources_no_run_begins_and_the_setting_is_named() -> None:
    with running_site(work=False) as site:
        reply = ask(site, "POST", "/v1/runs", json=ASKED)
        assert (reply.status_code, reply.headers["Content-Type"]) == (403, "application/problem+json")
        assert "SHOAL_RUN_SOURCES" in reply.json()["detail"]
        page = ask(site, "GET", "/runs", headers=PAGE).text
        assert "SHOAL_RUN_SOURCES" in page
        assert "<form" not in page
        assert 'href="/runs"' not in ask(site, "GET", "/", headers=PAGE).text
    alone = create_app(settings(), memory_cloud(SystemClock()), SystemClock(), has_pool=False).test_client()
    assert (alone.get("/v1/runs").status_code, alone.get("/runs").status_code) == (404, 404)


def test_a_key_makes_one_run(site: Site) -> None:
    key = {"Idempotency-Key": "once"}
    first = ask(site, "POST", "/v1/runs", json=ASKED, headers=key)
    second = ask(site, "POST", "/v1/runs", json=ASKED, headers=key)
    assert (second.json()["run"], second.headers["Idempotent-Replayed"]) == (first.json()["run"], "true")
    assert ask(site, "POST", "/v1/runs", json=ASKED | {"top": 2}, headers=key).status_code == 422
    assert len(list(RunRecords(site.cloud.outputs).ids())) == 1
    assert site.cloud.bulk.depth().total == 1


def test_what_is_unknown_is_a_problem(site: Site) -> None:
    for run in (new_batch(0), "nonsense"):
        for path in ("", "/results"):
            reply = ask(site, "GET", f"/v1/runs/{run}{path}")
            assert (reply.status_code, "unknown" in reply.json()["detail"]) == (404, True)
        assert ask(site, "GET", f"/runs/{run}", headers=PAGE).status_code == 404
        assert ask(site, "POST", f"/runs/{run}/cancel", headers=PAGE).status_code == 404
    run = begin(site)
    for query in ("cursor=-1", "cursor=1", "limit=0", "status=done", "after=1"):
        assert ask(site, "GET", f"/v1/runs/{run}/results?{query}").status_code == 400, query
    assert ask(site, "POST", "/v1/runs", data="source=s3://photos/2026/").status_code == 415


def test_the_page_begins_shows_and_steers_a_run(site: Site) -> None:
    store_photos(site.cloud, 70, bad=1)
    assert 'href="/runs"' in ask(site, "GET", "/", headers=PAGE).text
    form = {"source": SOURCES, "into": "", "limit": "", "top": "3", "fail_above": "40%", "not_if_done": "1"}
    refused = ask(site, "POST", "/runs", data=form | {"limit": "many"}, headers=PAGE)
    assert (refused.status_code, "limit is not a whole number" in refused.text) == (400, True)
    begun = ask(site, "POST", "/runs", data=form, headers=PAGE)
    page = begun.headers["Location"]
    run = page.rpartition("/")[2]
    found = RunRecords(site.cloud.outputs).run(run)
    assert (found.top, found.fail_above, found.not_if_done, found.target) == (3, 0.4, True, "")
    work(site.cloud, 3)
    forget(site, run)
    text = ask(site, "GET", page, headers=PAGE).text
    assert "40 of 70 photos, 1 failed" in text
    assert "it is no image" in text
    thumbnail = re.search(rf"/runs/{run}/photos/1/\d+/thumbnail", text)
    assert thumbnail
    picture = ask(site, "GET", thumbnail[0])
    assert (picture.status_code, picture.headers["Content-Type"]) == (200, "image/jpeg")
    assert ask(site, "GET", f"/runs/{run}/photos/0/0/thumbnail").status_code == 404  # no photo
    assert ask(site, "GET", f"/runs/{run}/photos/9/9/thumbnail").status_code == 404  # no row
    assert ask(site, "POST", f"{page}/pause", headers=PAGE).headers["Location"] == page
    assert "Paused" in ask(site, "GET", page, headers=PAGE).text
    ask(site, "POST", f"{page}/resume", headers=PAGE)
    work(site.cloud)
    forget(site, run)
    text = ask(site, "GET", page, headers=PAGE).text
    assert "70 of 70 photos" in text
    assert f"shoal runs fetch {run}" in text
    again = ask(site, "POST", f"{page}/retry-failed", headers=PAGE).headers["Location"]
    assert "What failed of" in ask(site, "GET", again, headers=PAGE).text
    assert "Begin a run" in ask(site, "GET", "/runs", headers=PAGE).text


def test_downloads_that_nobody_reads_leave_room_for_others(site: Site) -> None:
    run = begin(site)
    path = f"/runs/{run}/labels.jsonl"
    held = [services(site).runs.downloads.hold(iter(())) for _ in range(downloads.AT_ONCE)]
    assert (ask(site, "GET", path).status_code, ask(site, "HEAD", path).status_code) == (503, 200)
    assert ask(site, "GET", f"/runs/{run}").status_code == 200
    for one in held:
        one.close()
        one.close()
    for _ in range(2 * downloads.AT_ONCE):
        assert ask(site, "GET", path).status_code == 200


def test_photos_outside_the_list_are_shown_to_nobody(site: Site) -> None:
    """The operator's command may name any bucket; its run is shown without pictures."""
    site.cloud.buckets["secret"].put("a.jpg", b"0" * 99, "image/jpeg")
    run = Run(new_batch(SystemClock().now()), "s3://secret", "secret", "")
    Steering(site.cloud).start(run)
    work(site.cloud)
    assert "/thumbnail" not in ask(site, "GET", f"/runs/{run.id}", headers=PAGE).text
    assert ask(site, "GET", f"/runs/{run.id}/photos/0/0/thumbnail").status_code == 404


def cloud_with(*names: str) -> Cloud:
    cloud = memory_cloud(SystemClock())
    for name in names:
        Users(cloud.outputs).add(name, PASSWORD)
    return cloud


def test_a_user_sees_own_runs_and_an_operator_all() -> None:
    cloud = cloud_with("alice", "bob")
    with running_site(cloud, work=False, sign_in="on", operator_secret=SECRET, run_sources=SOURCES) as site:
        alice, bob = signed_in(site, "alice"), signed_in(site, "bob")
        operator = signed_in(site, "operator", SECRET)
        asked = {"source": SOURCES}
        assert requests.post(f"{site.url}/v1/runs", json=asked, timeout=20).status_code == 401
        run = alice.post(f"{site.url}/v1/runs", json=asked, timeout=20).json()["run"]
        for who, seen in ((alice, True), (bob, False), (operator, True)):
            for path in (f"/v1/runs/{run}", f"/runs/{run}"):
                assert who.get(site.url + path, timeout=20).status_code == (200 if seen else 404)
            listed = who.get(f"{site.url}/v1/runs", timeout=20).json()["runs"]
            assert bool(listed) is seen
            assert (run in who.get(f"{site.url}/runs", timeout=20).text) is seen
        assert bob.post(f"{site.url}/v1/runs/{run}/cancel", timeout=20).status_code == 404
        own = Run(new_batch(SystemClock().now()), "s3://secret", "secret", "")
        Steering(cloud).start(own)  # by the command: nobody's, so the operators'
        assert alice.get(f"{site.url}/v1/runs/{own.id}", timeout=20).status_code == 404
        assert operator.get(f"{site.url}/v1/runs/{own.id}", timeout=20).status_code == 200
        work(cloud)
        services(site).runs.looker.changed(run)
        assert alice.post(f"{site.url}/v1/runs/{run}/resume", timeout=20).status_code == 409


def test_who_has_a_quota_begins_no_run() -> None:
    with running_site(
        cloud_with("alice"), work=False, sign_in="on", operator_secret=SECRET, run_sources=SOURCES, user_photos_a_day=5
    ) as site:
        reply = signed_in(site, "alice").post(f"{site.url}/v1/runs", json={"source": SOURCES}, timeout=20)
        assert (reply.status_code, "an operator has to begin it" in reply.text) == (403, True)
        operator = signed_in(site, "operator", SECRET)
        assert operator.post(f"{site.url}/v1/runs", json={"source": SOURCES}, timeout=20).status_code == 201


def test_of_a_cancelled_run_with_gaps_every_row_comes_once(site: Site) -> None:
    store_photos(site.cloud, 90)
    run = begin(site)
    work(site.cloud, 1)
    lost = site.cloud.bulk.receive(1, 0)  # the first shard's message
    work(site.cloud, 2)
    rows = RunRows(RunRecords(site.cloud.outputs))
    assert (len(rows.page(run, "", 100).rows), rows.page(run, "", 100).following) == (0, "0-0")
    ask(site, "POST", f"/v1/runs/{run}/cancel")
    site.cloud.bulk.delete([one.receipt for one in lost])
    work(site.cloud)
    keys, following = all_rows(site, run, "limit=11")
    assert (len(keys), len(set(keys)), following) == (40, 40, None)
