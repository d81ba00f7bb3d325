"""The fleet page: what it shows with and without a ledger, and what an operator, and nobody else, can do there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from controller import ledger as controllers
from shoal import aws, dead_letters, ledger_file
from shoal import settings as shoal_settings
from shoal.buckets import failures, foreign_messages
from shoal.buckets.failures import Failure
from shoal.buckets.foreign_messages import ForeignMessage
from shoal.clock import SystemClock
from shoal.errors import SettingsError
from shoal.ledger import Entry, Refusal
from shoal.memory import ManualClock
from shoal.messages import Job, Result
from shoal.ports import Beat
from shoal.settings import change_for, in_force
from tests.controller_daemon import daemon
from tests.fleet_fixtures import write_ledger
from tests.waiting import until
from tests.web_fixtures import Site, jpeg, running_site, settings
from tests.web_screenshots import DESKTOP
from web_tier.watching import history
from web_tier.watching.history import History, Moment
from web_tier.watching.plots import plot

expect.set_options(timeout=20_000)

SECRET = "sixteen or more letters"
JOB = Job("1m7yv8wnwyewm4djehxe", 0, "a.jpg", "test-resp-queue")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A web tier with an operator, beside a controller's ledger, and without workers."""
    write_ledger(tmp_path, SystemClock().now())
    with running_site(work=False, state_dir=tmp_path, operator_secret=SECRET) as running:
        yield running


@pytest.fixture(params=["script", "phone, no script"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    phone: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "java_script_enabled": False}
    context = browser.new_context(**(phone if request.param != "script" else {"viewport": DESKTOP}))
    yield context.new_page()
    context.close()


def test_the_page_shows_queue_pool_ledger_and_cost(site: Site, page: Page) -> None:
    site.cloud.requests.send([JOB.to_json()] * 3)
    site.cloud.pool.launch(["a", "b"], "t")
    site.cloud.register.beat("i-1", Beat(1, arithmetic="int8"))
    site.cloud.register.beat("i-2", Beat(1, arithmetic="int8"))
    page.goto(site.url)
    page.get_by_role("link", name="Fleet").click()

    figures = page.locator(".figures div")
    expect(figures.nth(0)).to_have_text(re.compile(r"Backlog\s*3\s*3 waiting, 0 in work"))
    expect(figures.nth(1)).to_have_text(re.compile(r"Workers\s*2\s*0 starting, 0 leaving; at most 15"))
    expect(figures.nth(2)).to_have_text(re.compile(r"Images a second\s*\d+\.\d\s*computed in int8"))
    expect(figures.nth(4)).to_have_text(re.compile(r"Cost so far\s*\$0\.\d+"))
    expect(figures.nth(5)).to_have_text(re.compile(r"Cost of 1,000 images\s*\$0\.\d+\s*[\d,]+ images in that time"))
    expect(page.locator("#why li")).to_have_count(20)
    expect(page.locator("#why li").first).to_contain_text("backlog 3, 0.42 s each, target 60 s: need 1; 1 pending")
    expect(page.locator("svg[role=img]")).to_have_count(3)
    assert (page.get_by_role("img", name="Backlog in the last half hour").locator("path").count()) == 2
    expect(page.locator("#dead")).to_have_text("None: every request message was finished, or is on its way.")


def test_the_page_follows_without_being_loaded_again(site: Site, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(f"{site.url}/fleet")
    expect(page.locator(".figures dd >> nth=0")).to_have_text("0")
    site.cloud.requests.send([JOB.to_json()])
    site.cloud.dead_letters.send([JOB.to_json()])
    expect(page.locator(".figures dd >> nth=0")).to_have_text("1")
    expect(page.locator("#dead")).to_contain_text("1 request message that no worker could finish")
    foreign_messages.keep(site.cloud.outputs, ForeignMessage("[]", "not a message: no JSON object"))
    expect(page.locator("#foreign")).to_contain_text("1 message in the request queue was not Shoal's")
    expect(page.locator("#foreign li")).to_have_text("not a message: no JSON object")
    page.context.set_offline(True)
    expect(page.locator("#lost")).to_be_visible()
    page.context.close()


def test_programs_get_the_same_figures(site: Site) -> None:
    site.cloud.requests.send([JOB.to_json()])
    site.cloud.responses.send([Result(JOB.key, "done", seconds={"queue": 1.5}).to_json()])

    def read() -> dict[str, Any]:
        found: dict[str, Any] = requests.get(f"{site.url}/fleet.json", timeout=10).json()
        return found

    found = read()
    assert found["pool"] == {"visible": 1, "in_flight": 0, "pending": 0, "running": 0, "draining": 0}
    assert found["ledger"] is True
    assert found["cost"]["per_thousand"] == pytest.approx(found["cost"]["dollars"] / found["cost"]["images"] * 1000)
    assert found["decisions"][0]["sentence"].startswith("backlog 3, ")


def test_the_estimate_goes_by_what_the_controller_measured(site: Site) -> None:
    # 5 s of boot, and 12 photos of 0.42 s for one worker.
    told = requests.get(f"{site.url}/estimate?photos=12", timeout=10).json()
    assert (told["words"], told["hindrance"]) == ("about 10 s, under a cent", "")


def test_a_type_without_a_price_is_named_on_the_page_and_in_the_estimate() -> None:
    with running_site(work=False, instance_type="x9.huge") as site:
        unknown = "no price is known for x9.huge: correct SHOAL_INSTANCE_TYPE, or set SHOAL_PRICE_PER_HOUR"
        assert unknown in requests.get(f"{site.url}/fleet", timeout=10).text
        assert unknown in requests.get(f"{site.url}/estimate?photos=12", timeout=10).json()["words"]


def test_a_budget_that_stops_everything_is_said_everywhere(tmp_path: Path, browser: Browser) -> None:
    why = "budget $0.05 a day: one more machine to midnight UTC is $0.25, $0.05 are left"
    entry = Entry(SystemClock().now(), "x", 1, 0, 0, 0, 1, refused=(Refusal(1, why),), no_launch=why)
    (tmp_path / ledger_file.NAME).write_text(f"{entry.to_json()}\n")
    with running_site(work=False, state_dir=tmp_path) as site:
        told = f"No worker can start: {why}"
        assert requests.get(f"{site.url}/estimate?photos=12", timeout=10).json()["hindrance"] == told
        page = browser.new_page()
        page.goto(f"{site.url}/fleet")
        expect(page.locator("#hindrance")).to_have_text(told)
        page.goto(site.url)
        page.set_input_files("#files", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": jpeg()})
        expect(page.locator("#expected")).to_have_text(told)
        page.click("#go")
        expect(page.locator("#hindrance")).to_have_text(told)
        page.reload()
        expect(page.locator("#hindrance")).to_have_text(told)
        status = requests.get(f"{page.url.partition('?')[0]}/status", timeout=10).json()  # what the command asks for
        assert (status["line"], status["hindrance"]) == ("Waiting for a worker: none is running yet", told)
        site.worker.step()
        expect(page.locator("#status")).to_have_text(re.compile("^Done"))
        expect(page.locator("#hindrance")).to_be_hidden()
        page.context.close()


def test_a_batch_costs_its_share_of_what_the_machines_did() -> None:
    def at(seconds: float, machines: int, finished: int) -> Moment:
        return Moment(seconds, 0, 0, machines, machines, finished, 0.0, 0.5, 5.0, "")

    moments = [at(0, 0, 0), at(100, 2, 0), at(200, 4, 30), at(300, 0, 40)]
    # 50 s of two machines and 100 s of four, at a dollar a second: 10 of the 40 photos then.
    assert history.share(moments, 150, 300, 10, 3600.0) == pytest.approx(500 * 10 / 40)
    assert history.share(moments, 150, 300, 50, 3600.0) == pytest.approx(500)  # the ledger is a beat behind
    # Workers tell at 11 s of the last 20 photos of this batch, and of 60 of the next, which began at 10 s.
    close = [at(0, 1, 0), at(9, 1, 40), at(11, 1, 120), at(13, 1, 120)]
    assert history.share(close, 1, 9.5, 60, 3600.0) == pytest.approx(8.5)
    assert history.share(close, 10, 11, 60, 3600.0) == pytest.approx(1)
    assert history.share(moments, -60, 300, 10, 3600.0) is None
    assert history.share([], 0, 1, 10, 3600.0) is None
    assert history.share(moments[:1], 10, 20, 10, 3600.0) is None  # the web process labelled them itself: not "$0.00"


@pytest.mark.parametrize(("emulated", "title", "words"), [
    (False, "Cost", r"under a cent \(about \$0\.0[0-9]+\)"),
    (True, "Would cost on t3.medium", r"would cost under a cent \(about \$0\.0[0-9]+\) on t3\.medium"),
])  # fmt: skip
def test_the_cost_of_a_batch_is_on_its_page(
    tmp_path: Path, browser: Browser, emulated: bool, title: str, words: str
) -> None:
    entry = Entry(SystemClock().now() - 60, "x", 0, 0, 0, 3, 3)
    (tmp_path / ledger_file.NAME).write_text(f"{entry.to_json()}\n")
    with running_site(state_dir=tmp_path, emulated=emulated) as site:
        page = browser.new_page()
        page.goto(site.url)
        page.set_input_files("#files", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": jpeg()})
        page.click("#go")
        for _ in range(2):
            expect(page.locator("#fact-cost")).to_have_text(re.compile(r"^under a cent \((about )?\$0\.0"))
            expect(page.locator("dt:has(+ #fact-cost)")).to_have_text(title)
            page.reload()
        batch = page.url.rpartition("/")[2]
        told = requests.get(f"{site.url}/v1/batches/{batch}", timeout=10).json()["cost"]
        assert re.fullmatch(words.replace("about ", "" if told["settled"] else "about "), told["words"])
        past = site.server._services.batch_cost._past
        past._clock = ManualClock(SystemClock().now() + history.LATE_SECONDS)  # what the ledger hears late is in it
        told = requests.get(f"{site.url}/v1/batches/{batch}", timeout=10).json()["cost"]
        assert (told["settled"], "about" in told["words"]) == (True, False)
        assert 0 < told["dollars"] < 0.01
        page.context.close()


def test_what_cannot_be_read_is_said() -> None:
    with running_site(work=False) as site:
        told = requests.get(f"{site.url}/fleet", timeout=10).text
        assert "ledger is not in no-such-folder on this machine" in told
        assert "SHOAL_OPERATOR_SECRET" not in told  # said where somebody wants to act
        assert ("Sign in to act" in told, "Nobody can act here yet" in told) == (False, True)
        assert requests.get(f"{site.url}/fleet.json", timeout=10).json()["cost"] is None
        assert "Nobody can: set" in requests.get(f"{site.url}/fleet/sign-in", timeout=10).text
        for action in ("sign-in", "sign-out", "redrive"):
            reply = requests.post(f"{site.url}/fleet/{action}", data={"secret": "", "token": ""}, timeout=10)
            assert (reply.status_code, reply.cookies.get_dict()) == (403, {})


def test_the_operator_sends_dead_letters_to_the_workers_again(site: Site, page: Page) -> None:
    site.cloud.dead_letters.send([JOB.to_json(), JOB.to_json()])
    page.goto(f"{site.url}/fleet")
    expect(page.locator("#dead")).to_have_text("2 request messages that no worker could finish.")
    expect(page.get_by_role("link", name="Look at them")).to_have_count(0)
    page.goto(f"{site.url}/fleet/dead-letters")  # not without signing in
    page.fill("#secret", "not the right one")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("[role=alert]")).to_have_text("That is not the operator's secret.")
    page.fill("#secret", SECRET)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Look at them").click()
    page.get_by_role("button", name="Send all to the workers again").click()
    expect(page.locator(".told")).to_have_text("2 messages are in the request queue again.")
    assert site.cloud.requests.depth().visible == 2
    assert site.cloud.dead_letters.depth().total == 0
    page.get_by_role("link", name="Back to the fleet").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in to act")).to_be_visible()


def test_single_dead_letters_are_looked_at_sent_again_and_deleted(site: Site, page: Page) -> None:
    jobs = [Job(JOB.batch, index, f"<b onclick=alert({index})>.jpg", JOB.reply_to) for index in range(3)]
    site.cloud.dead_letters.send([jobs[0].to_json()])
    hostile = "<script>document.title = 'gone'</script>\u202egpj.exe"
    for job in jobs[:2]:
        failures.note(site.cloud.outputs, job.key, Failure(f"engine broke {hostile}", 1_780_000_000.0, "i-3", 99))
    for job in jobs[1:]:
        failures.bury(site.cloud.outputs, job.key, job.to_json(), 100)
    foreign_messages.keep(site.cloud.outputs, ForeignMessage(hostile, "no JSON object"))
    sign_in_on(page, site)
    expect(page.locator("#buried")).to_have_text("2 photos were given up and answered as failed.")
    page.get_by_role("link", name="Look at them").click()

    letters = page.locator(".letters > li")
    expect(letters).to_have_count(4)
    expect(page).to_have_title("Dead letters · Shoal")
    for number, (job, words) in enumerate(zip(jobs, ("engine broke <script>", "engine broke", "log"), strict=True)):
        expect(letters.nth(number).get_by_role("heading")).to_have_text(job.key)
        expect(letters.nth(number)).to_contain_text(words)
    expect(letters.nth(0)).to_contain_text("\\u202egpj.exe (delivery 99, 2026-05-28 20:26:40 UTC, i-3)")
    expect(letters.nth(0)).to_contain_text("It waits in the dead-letter queue.")
    expect(letters.nth(1)).to_contain_text("Its photo was answered as failed.")
    assert page.locator("b, main script").count() == 0
    letters.nth(0).get_by_text("The message").click()
    expect(letters.nth(0).locator("pre")).to_contain_text(f'"key":"{JOB.batch}/00000/<b onclick')

    letters.nth(1).get_by_role("button", name="Send again").click()
    expect(page.locator(".told")).to_have_text("1 message is in the request queue again.")
    assert [one.body for one in site.cloud.requests.receive(10, 0)] == [jobs[1].to_json()]
    for left in (2, 1):  # the one that waits, and the message that is not ours
        some = letters.first if left == 2 else letters.last
        some.get_by_text("Delete…").click()
        some.get_by_role("button", name="Yes, delete").click()
        expect(page.locator(".told")).to_have_text("1 message is deleted.")
        expect(letters).to_have_count(left)
    assert [one.key for one in dead_letters.look(site.cloud)] == [jobs[2].key]
    assert foreign_messages.count(site.cloud.outputs) == 0
    page.get_by_text("Delete all…").click()
    page.get_by_role("button", name="Yes, delete").first.click()
    expect(page.locator("main")).to_contain_text("None: every request message was finished")


def test_a_form_that_says_nothing_deletes_nothing(site: Site) -> None:
    site.cloud.dead_letters.send([JOB.to_json()])
    signed_in = operator(site)
    carried = {"token": token(site, signed_in)}
    address = f"{site.url}/fleet/dead-letters/delete"
    assert requests.post(address, {"all": "1"}, timeout=10).status_code == 403
    assert signed_in.post(address, {"all": "1"}, timeout=10).status_code == 403
    assert signed_in.post(address, carried, timeout=10).status_code == 400
    assert signed_in.post(address, {**carried, "key": "another"}, timeout=10).ok
    assert site.cloud.dead_letters.depth().total == 1
    assert requests.get(f"{site.url}/fleet/dead-letters", timeout=10).url.endswith("/fleet/sign-in")


def test_nothing_is_offered_for_no_dead_letters() -> None:
    with running_site(work=False, operator_secret=SECRET) as site:
        page = operator(site).get(f"{site.url}/fleet", timeout=10).text
    assert "Sign out" in page
    assert "Look at them" not in page


def sign_in_on(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/fleet/sign-in")
    page.fill("#secret", SECRET)
    page.get_by_role("button", name="Sign in").click()


@pytest.mark.usefixtures("embedded_cloud")
def test_the_operator_changes_a_live_setting(
    tmp_path: Path, browser: Browser, cloud_environment: dict[str, str]
) -> None:
    aws.prepare(shoal_settings.load({"SHOAL_PREFIX": "rules"}))
    page = browser.new_page()
    with running_site(work=False, state_dir=tmp_path, operator_secret=SECRET) as site:
        sign_in_on(page, site)
        expect(page.locator("#live-title")).to_have_count(0)  # no controller runs there
        with daemon(tmp_path, cloud_environment):
            until(lambda: in_force.read(tmp_path))
            refused = "Nothing was changed. SHOAL_MAX_INSTANCES='many': expected a whole number"
            for value, shown, told in (
                ("2", ".told", "SHOAL_MAX_INSTANCES=2 holds now"),
                ("many", "section:has(#live-title) [role=alert]", refused),
            ):
                page.goto(f"{site.url}/fleet")
                page.locator("[name=name]").select_option("SHOAL_MAX_INSTANCES")
                page.get_by_label("New value").fill(value)
                page.get_by_role("button", name="Set").click()
                expect(page.locator(shown)).to_have_text(told)
                expect(page.locator("#figures")).to_contain_text("at most 2")
            expect(page.locator("form:has([value=SHOAL_MAX_INSTANCES][selected]) [name=value]")).to_have_value("many")
            assert (tmp_path / "settings.env").read_text() == "SHOAL_MAX_INSTANCES=2\n"
            change_for(site.settings, {"SHOAL_PRICE_PER_HOUR": "7.5"})
            page.goto(f"{site.url}/fleet")
            expect(page.locator("#figures")).to_contain_text("$7.5 an hour")
            estimate = requests.get(f"{site.url}/estimate?photos=3600", timeout=10).json()
            assert estimate["dollars"] == pytest.approx(7.5 * site.settings.expected_service_seconds)
            signed_in = operator(site)
            form = {"token": token(site, signed_in), "name": "SHOAL_POLICY", "value": "evil:policy"}
            assert signed_in.post(f"{site.url}/fleet/setting", form, timeout=10).status_code == 400
            stranger = requests.post(f"{site.url}/fleet/setting", {**form, "name": "SHOAL_QOS"}, timeout=10)
            assert stranger.status_code == 403
    page.context.close()


def token(site: Site, browser: requests.Session) -> str:
    """What the forms of the operator's fleet page carry."""
    found = re.search(r'name="token" value="([^"]+)"', browser.get(f"{site.url}/fleet", timeout=10).text)
    assert found is not None
    return found[1]


def operator(site: Site) -> requests.Session:
    """A browser in which the operator is signed in."""
    session = requests.Session()
    assert session.post(f"{site.url}/fleet/sign-in", data={"secret": SECRET}, timeout=10).ok
    return session


def redrive(site: Site, session: requests.Session, carried: str) -> int:
    return session.post(f"{site.url}/fleet/redrive", data={"token": carried}, timeout=10).status_code


def test_another_sites_form_does_nothing(site: Site) -> None:
    signed_in, other, stranger = operator(site), operator(site), requests.Session()
    mine = token(site, signed_in)
    assert redrive(site, signed_in, "") == 403
    assert redrive(site, signed_in, token(site, other)) == 403
    assert redrive(site, stranger, mine) == 403
    assert signed_in.post(f"{site.url}/fleet/sign-out", timeout=10).status_code == 403
    assert redrive(site, signed_in, mine) == 200


def sign_in(site: Site, **headers: str) -> requests.Response:
    form = {"secret": SECRET}
    return requests.post(f"{site.url}/fleet/sign-in", form, headers=headers, timeout=10, allow_redirects=False)


def test_the_cookie_is_for_the_fleet_page_alone_and_dies_with_its_secret(site: Site) -> None:
    for path in ("/fleet", "/fleet/sign-in"):
        assert "Set-Cookie" not in requests.get(site.url + path, timeout=10).headers
    flags = set(sign_in(site).headers["Set-Cookie"].split("; "))
    assert {"HttpOnly", "SameSite=Strict", "Path=/fleet"} <= flags
    by_https = {"X-Forwarded-Proto": "https"}
    assert "Secure" not in flags | set(sign_in(site, **by_https).headers["Set-Cookie"].split("; "))
    with running_site(site.cloud, work=False, operator_secret=SECRET, trusted_proxy="127.0.0.1") as behind:
        assert "Secure" in sign_in(behind, **by_https).headers["Set-Cookie"].split("; ")
    signed_in = operator(site)
    carried = token(site, signed_in)
    with running_site(site.cloud, work=False, operator_secret=SECRET + "!") as other:
        assert redrive(other, signed_in, carried) == 403


def test_a_cookie_is_worth_nothing_after_sign_out(site: Site) -> None:
    signed_in = operator(site)
    carried, kept = token(site, signed_in), signed_in.cookies.get_dict()
    assert signed_in.post(f"{site.url}/fleet/sign-out", data={"token": carried}, timeout=10).ok
    signed_in.cookies.update(kept)
    assert redrive(site, signed_in, carried) == 403


def test_wrong_secrets_cost_time(site: Site) -> None:
    def guess(secret: str) -> requests.Response:
        return requests.post(f"{site.url}/fleet/sign-in", data={"secret": secret}, timeout=10)

    assert [guess("wrong").status_code for _ in range(3)] == [403] * 3
    refused = guess(SECRET)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")


@pytest.mark.parametrize("secret", ["short", "x" * 15])
def test_a_secret_that_can_be_guessed_is_refused_and_not_told(secret: str) -> None:
    with pytest.raises(SettingsError, match="SHOAL_OPERATOR_SECRET: expected at least 16") as raised:
        shoal_settings.load({"SHOAL_OPERATOR_SECRET": secret})
    assert secret not in str(raised.value)


def test_no_worker_and_no_log_gets_the_secret() -> None:
    chosen = shoal_settings.load({"SHOAL_OPERATOR_SECRET": SECRET})
    assert SECRET not in repr(chosen)
    assert SECRET not in "".join(chosen.for_worker().values())


def test_a_ledger_is_followed_as_it_grows_and_when_it_is_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follower = ledger_file.Follower(tmp_path / ledger_file.NAME)
    with pytest.raises(FileNotFoundError):
        follower.news()
    write_ledger(tmp_path, 10_000.0, minutes=5)
    first = follower.news()
    assert len(first) == 61
    one = replace(first[0], at=1.0)
    assert follower.news() == []
    with (tmp_path / ledger_file.NAME).open("a") as file:
        half, rest = one.to_json()[:20], one.to_json()[20:]
        file.write(f"not json\n{half}")
        file.flush()
        assert follower.news() == []
        file.write(f"{rest}\n")
        file.flush()
        assert follower.news() == [one]
        file.write(f"{replace(one, at=3.0).to_json()}\n")
    (tmp_path / ledger_file.NAME).replace(ledger_file.older(tmp_path / ledger_file.NAME))
    write_ledger(tmp_path, 20_000.0, minutes=1 / 6)
    assert [entry.at for entry in follower.news()] == [3, 19_990.0, 19_995.0, 20_000.0]
    monkeypatch.setattr(controllers, "MAX_BYTES", 1_000)
    write_ledger(tmp_path, 30_000.0, minutes=1 / 6)  # moved twice: what was known is gone, all that is there is new
    assert [entry.at for entry in follower.news()] == [29_990.0, 29_995.0, 30_000.0]


def test_a_controller_that_starts_again_counts_on(tmp_path: Path) -> None:
    clock = ManualClock(50_000.0)
    past = History(ledger_file.Follower(tmp_path / ledger_file.NAME), clock)
    assert past.read() is None
    write_ledger(tmp_path, 49_000.0, minutes=5, finished_before=700)
    once = past.read() or ()
    done = once[-1].finished - once[0].finished
    assert done == history.done(once) > 0
    write_ledger(tmp_path, 50_000.0, minutes=5)
    both = past.read() or ()
    assert history.done(both) == 2 * done


def test_the_chart_has_no_machines_while_shoal_was_stopped(tmp_path: Path) -> None:
    clock = ManualClock(50_000.0)
    past = History(ledger_file.Follower(tmp_path / ledger_file.NAME), clock)
    write_ledger(tmp_path, 49_000.0, minutes=5, stopped_at=49_010.0)
    stopped = past.read() or ()
    assert [one.machines for one in stopped[-2:]] == [1, 0]
    assert history.cost(stopped[-2:], 50_000.0, price=3600.0) == 10.0
    write_ledger(tmp_path, 50_000.0, minutes=5)
    both = past.read() or ()
    assert both[len(stopped) - 1].machines == 0  # the next controller began without any


def test_a_dry_run_is_no_history_and_a_day_is_kept(tmp_path: Path) -> None:
    clock = ManualClock(100_000.0)
    write_ledger(tmp_path, 100_000.0, minutes=1)
    path = tmp_path / ledger_file.NAME
    lines = path.read_text().splitlines()
    dry = json.loads(lines[-1]) | {"dry_run": True}
    path.write_text("\n".join([*lines, json.dumps(dry), '{"at": 100000.5}', "[1]"]) + "\n")
    past = History(ledger_file.Follower(path), clock)
    assert len(past.read() or ()) == len(lines)
    clock.wait(2 * history.DAY_SECONDS)
    assert len(past.read() or ()) == 1  # what held last still holds


def moment(at: float, machines: int, finished: int = 0) -> Moment:
    return Moment(at, 0, 0, machines, machines, finished, 0.0, 0.5, 5.0, "", answered=finished)


def test_cost_and_rates_are_reckoned_from_what_held_in_between() -> None:
    moments = (moment(0, 2), moment(1800, 0, 90), moment(3600, 1, 90))
    assert history.cost(moments, 7200, price=0.10) == pytest.approx((2 * 0.5 + 1 * 1.0) * 0.10)
    assert history.done(moments) == 90
    assert history.rate(moments, 1800, 30) == 3.0
    assert history.rate((), 0, 30) == 0.0
    assert history.steps(moments, 900, 4000, lambda one: one.machines) == [(900, 2), (1800, 0), (3600, 1), (4000, 1)]
    assert history.steps((), 0, 1, lambda one: one.machines) == []
    assert history.rates(moments, 0, 3600, 2) == [(1800, 0.05), (3600, 0.0)]


def test_a_plot_goes_from_its_begin_to_its_end_and_has_room_above() -> None:
    drawn = plot("Backlog", 100, 200, {"a": [(100, 0), (150, 7), (200, 7)], "b": []})
    assert (drawn.most, drawn.lines[0].now, drawn.lines[1].now) == ("10", "7", "–")
    assert drawn.lines[0].path == "M0.0 80.0H150.0V24.0H300.0V24.0"
    assert plot("Rate", 0, 1, {"a": [(0, 0.0), (1, 0.5)]}, steps=False).lines[0].path == "M0.0 80.0L300.0 40.0"


def test_the_settings_of_a_test_find_no_ledger() -> None:
    assert not settings().state_dir.exists()
