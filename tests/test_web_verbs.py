"""What can be done on a batch's page: find, sort, download, correct, see its times. With and without script."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, FilePayload, Locator, Page, Route, ViewportSize, expect

from shoal.buckets.corrections import checked
from shoal.clock import SystemClock
from shoal.errors import Permanent
from shoal.memory import memory_cloud
from shoal.messages import Job, Label, Result, new_batch
from shoal.prices import dollars
from shoal_cli._batches.corrections import export
from tests.waiting import until
from tests.web_fixtures import Site, jpeg, labels_of, running_site, settings
from tests.web_screenshots import DESKTOP
from web_tier.results import table as csv_table
from web_tier.results.batches import Batch, Photo
from web_tier.results.hub import PoolState
from web_tier.results.timeline import STAGES, timeline
from web_tier.results.view import View
from web_tier.watching.estimate import estimate
from web_tier.words import duration

expect.set_options(timeout=20_000)

PHONE: ViewportSize = {"width": 360, "height": 740}
NAMES = ("b.jpg", "test_0.JPG", "fail.jpg", "street.jpg", "A.jpg")
SPENT = dict(zip(STAGES, (0.004, 0.12, 0.011, 0.034, 0.006, 0.082), strict=True))


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


@pytest.fixture(params=["script", "phone", "phone, no script"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    kind: str = request.param
    options: dict[str, Any] = {"viewport": DESKTOP}
    if kind.startswith("phone"):
        options = {"viewport": PHONE, "is_mobile": True, "has_touch": True, "color_scheme": "dark"}
    context = browser.new_context(java_script_enabled=not kind.endswith("no script"), **options)
    yield context.new_page()
    context.close()


def send(site: Site, *names: str) -> str:
    """Upload photos, wait until they are answered; the batch's address."""
    files = [("inputFile", (name, jpeg(), "image/jpeg")) for name in names]
    return site.url + requests.post(site.url, files=files, timeout=20).headers["Content-Location"]


def has_script(page: Page) -> bool:
    return page.locator("#copy").is_visible()


def find(page: Page, show: str = "all", sort: str = "sent", text: str = "") -> None:
    """What a person does in the line above the photos."""
    page.fill("[name=text]", text)
    page.select_option("[name=show]", show)
    page.select_option("[name=sort]", sort)
    if not has_script(page):
        page.click("text=Apply")


def test_photos_are_found_and_sorted(page: Page, site: Site) -> None:
    page.goto(send(site, *NAMES))
    names = page.locator(".photo .name")

    find(page, text="hair")
    expect(names).to_have_text(["test_0.JPG"])
    expect(page.locator("#shown")).to_have_text("1 of 5 shown")
    find(page, text="STREET")
    expect(names).to_have_text(["street.jpg"])
    find(page, show="failed")
    expect(names).to_have_text(["fail.jpg"])
    find(page, show="warned")
    expect(names).to_have_text(["street.jpg"])
    find(page, show="done", sort="name")
    expect(names).to_have_text(["A.jpg", "b.jpg", "street.jpg", "test_0.JPG"])
    find(page, sort="slow")
    expect(names).to_have_text(["A.jpg", "test_0.JPG", "b.jpg", "fail.jpg", "street.jpg"])
    find(page, sort="sure")
    shares = [int(words.split()[0]) for words in page.locator(".percent:visible").all_inner_texts()]
    assert shares == sorted(shares)
    assert len(shares) == 4
    find(page, sort="label")
    expect(names.last).to_have_text("fail.jpg")
    labels = page.locator(".photo.done .label").all_inner_texts()
    assert labels == sorted(labels)
    find(page, text="no such thing")
    expect(names).to_have_count(0)
    find(page)
    expect(names).to_have_text(list(NAMES))
    expect(page.locator("#shown")).to_have_text("")
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth") if has_script(page) else True


def test_a_correction_is_kept_shown_again_and_taken_back(page: Page, site: Site) -> None:
    address = send(site, "test_0.JPG", "b.jpg")
    page.goto(address)
    first = page.locator(".photo >> nth=0")
    right = first.get_by_label("Wrong label? It is:")

    first.locator("summary").click()
    right.fill("Tabby  cat")
    first.get_by_role("button", name="Correct").click()
    expect(first.locator(".corrected")).to_have_text("Corrected: Tabby_cat")
    page.goto(address)
    expect(first.locator(".corrected")).to_have_text("Corrected: Tabby_cat")
    ((key, kept),) = corrections(site)
    assert key.endswith("/00000/test_0.JPG")
    assert (kept["label"], kept["instead_of"]) == ("Tabby_cat", "hair_spray")
    find(page, text="tabby_c")
    expect(page.locator(".photo")).to_have_count(1)

    first.locator("summary").click()
    first.get_by_role("button", name="Take back").click()
    expect(first.locator(".corrected:visible")).to_have_count(0)
    assert corrections(site) == []


def corrections(site: Site) -> list[tuple[str, dict[str, Any]]]:
    outputs = site.cloud.outputs
    return [(one.key, json.loads(outputs.get(one.key))) for one in outputs.list("corrections/")]


def test_find_open_and_correct_by_keyboard_alone(browser: Browser, site: Site) -> None:
    page = browser.new_page()
    page.goto(send(site, "b.jpg", "test_0.JPG"))
    page.focus("#copy")
    told = "() => ((one) => one.name || one.getAttribute('aria-label') || one.tagName)(document.activeElement)"
    focused = []
    for _ in range(8):
        page.keyboard.press("Tab")
        focused.append(page.evaluate(told))
    assert focused == [
        "Download as CSV", "Download as JSON", "SUMMARY", "text", "show", "sort", "Show b.jpg large", "SUMMARY",
    ]  # fmt: skip
    page.get_by_role("search").get_by_label("Find").press_sequentially("hair")
    expect(page.get_by_role("search").get_by_role("status")).to_have_text("1 of 2 shown")
    for key in ("Tab", "Tab", "Tab", "Tab", "Enter", "Tab"):
        page.keyboard.press(key)
    page.keyboard.type("my cat")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("Kept for a later training.")
    expect(page.locator(".corrected")).to_have_text("Corrected: my_cat")
    page.context.close()


def test_a_bad_correction_gets_a_clear_answer(page: Page, site: Site) -> None:
    page.goto(send(site, "test_0.JPG"))
    page.locator(".photo summary").first.click()
    page.get_by_label("Wrong label? It is:").fill("../cat")
    page.get_by_role("button", name="Correct").click()
    told = "A label is made of letters, digits, spaces and -_.&'()+ and does not begin with a dot."
    expect(page.locator(".answer" if has_script(page) else ".problem .lead")).to_have_text(told)
    assert corrections(site) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "Write what"),
        ("   ", "Write what"),
        ("x" * 61, "at most 60 characters; yours has 61"),
        ("a/b", "made of letters"),
        (".hidden", "not begin with a dot"),
        ("<b>", "made of letters"),
        ("a\x00b", "made of letters"),
    ],
)
def test_what_cannot_be_the_name_of_a_class_is_refused(text: str, told: str) -> None:
    with pytest.raises(Permanent, match=told):
        checked(text)


@pytest.mark.parametrize(("text", "label"), [(" hair  spray ", "hair_spray"), ("Bücherei", "Bücherei"), ("猫", "猫")])
def test_a_label_is_kept_as_the_models_write_theirs(text: str, label: str) -> None:
    assert checked(text) == label


def test_only_a_labelled_photo_can_be_corrected(site: Site) -> None:
    address = send(site, "test_0.JPG", "fail.jpg")

    def told(index: int, label: str) -> tuple[int, str]:
        reply = requests.post(f"{address}/photos/{index}/correction", data={"label": label}, timeout=10)
        return reply.status_code, reply.text

    assert told(0, "hair spray") == (400, "hair_spray is the label that it has already.\n")
    assert told(1, "cat")[0] == 409
    assert told(2, "cat") == (404, "The batch has no photo 2.\n")
    assert requests.post(f"{site.url}/batches/{'1' * 20}/photos/0/correction", timeout=10).status_code == 404


def test_a_correction_changes_nothing_else_of_its_batch(site: Site) -> None:
    address = send(site, "test_0.JPG", "b.jpg")
    before = requests.get(f"{address}.json", timeout=10).json()
    requests.post(f"{address}/photos/1/correction", data={"label": "cat"}, timeout=10)
    after = requests.get(f"{address}.json", timeout=10).json()
    assert (before["photos"][1].pop("correction"), after["photos"][1].pop("correction")) == (None, "cat")
    assert after == before


def test_corrected_photos_become_a_data_set(site: Site, tmp_path: Path) -> None:
    address = send(site, "test_0.JPG", "b.jpg", "c.jpg", "w" * 300 + ".jpg")
    for index, label in enumerate(("my cat", "my dog", "my cat", "my cat")):
        requests.post(f"{address}/photos/{index}/correction", data={"label": label}, timeout=10)
    batch = address.rpartition("/")[2]
    site.cloud.inputs.delete(f"{batch}/00002/c.jpg")
    site.cloud.outputs.put(f"corrections/{batch}/00001/b.jpg", b'{"label": "../../out"}', "application/json")
    site.cloud.outputs.put("corrections/notes.txt", b"hello", "text/plain")

    assert export(site.cloud, tmp_path / "photos") == (2, 2)
    assert export(site.cloud, tmp_path / "photos") == (2, 2)
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.*"))
    assert [path.parts[:2] for path in written] == [("photos", "my_cat")] * 2
    assert (tmp_path / "photos" / "my_cat" / f"{batch}-00000-test_0.JPG").read_bytes() == jpeg()


def test_the_opened_photo_shows_where_its_time_went(page: Page, site: Site) -> None:
    page.goto(send(site, "test_0.JPG", "b.jpg"))
    first = page.locator(".photo >> nth=0")
    first.locator("summary").click()
    expect(first.locator(".stages dt")).to_have_text(list(STAGES))
    expect(first.locator(".stages dd")).to_have_text([duration(seconds, exact=True) for seconds in SPENT.values()])
    widths = [float(one.get_attribute("width") or 0) for one in first.locator(".times rect").all()]
    assert sum(widths) == pytest.approx(100, abs=0.1)
    assert max(widths) == widths[1]


def test_the_server_draws_what_an_opened_photo_shows(site: Site) -> None:
    address = send(site, "test_0.JPG", "fail.jpg")
    requests.post(f"{address}/photos/0/correction", data={"label": "rock & roll"}, timeout=10)
    opened = requests.get(f"{address}/photos/0/more", timeout=10)
    assert opened.headers["Content-Type"] == "text/html; charset=utf-8"
    assert opened.text.startswith('<div class="more">')
    assert 'value="rock_&amp;_roll"' in opened.text
    assert opened.text in requests.get(address, headers={"Accept": "text/html"}, timeout=10).text
    assert requests.get(f"{address}/photos/1/more", timeout=10).status_code == 409
    assert requests.get(f"{address}/photos/2/more", timeout=10).status_code == 404
    assert requests.get(f"{site.url}/batches/{'1' * 20}/photos/0/more", timeout=10).status_code == 404


def test_a_photo_that_cannot_be_opened_says_so_and_can_be_opened_again(browser: Browser, site: Site) -> None:
    page = browser.new_page(viewport=PHONE)
    page.goto(site.url)
    page.set_input_files("#files", {"name": "test_0.JPG", "mimeType": "image/jpeg", "buffer": jpeg()})
    page.click("#go")
    summary = page.locator(".photo.done summary")
    trouble = ["refused", "away"]

    def answer(route: Route) -> None:
        if not trouble:
            route.continue_()
        elif trouble.pop() == "away":
            route.abort()
        else:
            route.fulfill(status=503, body="no")

    page.route("**/more", answer)
    summary.click()
    again = page.get_by_role("button", name="Try again")
    for _ in range(2):
        expect(page.get_by_role("alert")).to_have_text("This cannot be loaded at the moment.")
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        again.click()
        expect(summary).to_be_focused()
    expect(page.locator(".stages dt")).to_have_text(list(STAGES))
    expect(again).to_have_count(0)
    page.keyboard.press("Tab")
    expect(page.get_by_label("Wrong label? It is:")).to_be_focused()
    page.context.close()


def test_downloads_hold_every_photo(page: Page, site: Site) -> None:
    address = send(site, *NAMES)
    requests.post(f"{address}/photos/0/correction", data={"label": "cat"}, timeout=10)
    page.goto(address)
    with page.expect_download() as started:
        page.get_by_role("link", name="Download as CSV").click()
    table = list(csv.DictReader(io.StringIO(Path(started.value.path()).read_text())))
    assert started.value.suggested_filename == f"shoal-{address.rpartition('/')[2]}.csv"
    assert list(dict.fromkeys(row["name"] for row in table)) == list(NAMES)
    assert [row["label"] for row in table if row["name"] == "street.jpg"] == ["person"] * 2
    assert (table[0]["correction"], table[1]["label"], table[2]["error"]) == (
        "cat",
        "hair_spray",
        "the picture is cut off",
    )
    # Without `store` and `publish`, which the stored result does not know: the same from memory and after a restart.
    assert float(table[1]["seconds"]) == pytest.approx(sum(SPENT.values()) + 0.05)
    with page.expect_download() as started:
        page.get_by_role("link", name="Download as JSON").click()
    found = json.loads(Path(started.value.path()).read_text())
    assert [photo["name"] for photo in found["photos"]] == list(NAMES)
    assert found["photos"][1]["seconds"]["queue"] == pytest.approx(0.17)
    assert found["photos"][1]["total_seconds"] == round(sum(found["photos"][1]["seconds"].values()), 4)


@pytest.mark.parametrize(
    "first", ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\ufe66", "\u2212", "\u3000="]
)
def test_no_beginning_of_a_formula_is_left_in_a_table(first: str) -> None:
    photo = Photo(Job("1m7yv8wnwyewm4djehxe", 0, f"{first}1+1.jpg", ""), True, None)
    [_, line] = csv_table.rows(Batch("1m7yv8wnwyewm4djehxe", (photo,), 0.0))
    assert next(csv.reader([line]))[1] == f"'{first}1+1.jpg"


def test_a_name_is_no_formula_in_a_spreadsheet(site: Site) -> None:
    address = send(site, '=HYPERLINK("x").jpg')
    table = requests.get(f"{address}.csv", timeout=10)
    assert table.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert next(csv.DictReader(io.StringIO(table.text)))["name"] == '\'=HYPERLINK("x").jpg'


def test_what_it_takes_and_costs_is_said_before_the_upload(browser: Browser, site: Site) -> None:
    page = browser.new_page()
    page.goto(site.url)
    chosen = [FilePayload(name=f"{number}.jpg", mimeType="image/jpeg", buffer=jpeg()) for number in range(12)]
    page.set_input_files("#files", chosen)
    # 12 photos of half a second, after a boot of 30 s, at 0.0416 dollars an hour.
    expect(page.locator("#expected")).to_have_text("Expected: about 36 s, under a cent")
    page.context.close()
    for wrong in ("", "0", "-1", "x", "1e3", "100001", "9" * 5_000):
        assert requests.get(f"{site.url}/estimate?photos={wrong}", timeout=10).status_code == 400


def test_the_estimate_follows_what_was_measured_and_what_runs() -> None:
    idle, busy = PoolState(0, 0, 0, 0, 0), PoolState(80, 20, 0, 4, 0)
    ours = settings(target_seconds=60.0, max_instances=15)
    assert estimate(12, 0.1, 5.0, idle, ours, None).seconds == pytest.approx(6.2)
    assert estimate(1, 0.1, 5.0, busy, ours, None).seconds == pytest.approx(101 * 0.1 / 4)
    # 10,000 photos are 1,000 s of work, for 55 s: 19 workers, of which 15 are allowed.
    assert estimate(10_000, 0.1, 5.0, idle, ours, 3.6).seconds == pytest.approx(5 + 1000 / 15)
    assert estimate(10_000, 0.1, 5.0, idle, ours, 3.6).price == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (0, "$0.00"),
        (0.0000208, "$0.00002"),
        (0.0061, "$0.006"),
        (0.000097, "$0.0001"),
        (0.0999, "$0.10"),
        (12.4, "$12.40"),
        (0.314, "$0.31"),
    ],
)
def test_prices_in_words(amount: float, words: str) -> None:
    assert dollars(amount) == words


def test_a_phone_has_a_camera_and_a_desktop_has_none(browser: Browser, site: Site) -> None:
    for phone in (True, False):
        context = browser.new_context(viewport=PHONE, is_mobile=phone, has_touch=phone)
        page = context.new_page()
        page.goto(site.url)
        expect(page.locator("label.camera")).to_be_visible(visible=phone)
        if phone:
            assert page.locator("#camera").get_attribute("capture") == "environment"
            page.set_input_files("#camera", {"name": "shot.jpg", "mimeType": "image/jpeg", "buffer": jpeg()})
            expect(page.locator(".photo .name")).to_have_text("shot.jpg")
        context.close()


def test_a_photo_of_the_camera_can_be_sent_without_script(browser: Browser, site: Site) -> None:
    context = browser.new_context(viewport=PHONE, is_mobile=True, has_touch=True, java_script_enabled=False)
    page = context.new_page()
    page.goto(site.url)
    page.set_input_files("#camera", {"name": "shot.jpg", "mimeType": "image/jpeg", "buffer": jpeg()})
    page.click("text=Upload and label")
    expect(page.locator(".photo .name")).to_have_text("shot.jpg")
    context.close()


def stored(site: Site, count: int) -> str:
    """A finished batch that was never sent, as its results lie in the bucket; its address."""
    batch = new_batch(SystemClock().now())
    for number in range(count):
        job = Job(batch, number, f"{number:05d}.jpg", "")
        site.cloud.inputs.put(job.key, b"", "image/jpeg")
        result = Result(job.key, "done", labels_of(job), model="resnet50", seconds=SPENT)
        site.cloud.outputs.put(job.key, result.to_json().encode(), "application/json")
    return f"{site.url}/batches/{batch}"


def without_thumbnails(page: Page) -> None:
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.setBlockedURLs", {"urls": ["*/thumbnail"]})


def test_a_long_batch_without_script_is_drawn_in_parts_and_found_whole(browser: Browser) -> None:
    with running_site(memory_cloud(SystemClock()), work=False) as site:
        context = browser.new_context(java_script_enabled=False)
        plain = context.new_page()
        without_thumbnails(plain)
        plain.goto(f"{stored(site, 450)}?sort=name&page=1")
        expect(plain.locator(".photo")).to_have_count(200)
        plain.click("text=Next")
        expect(plain.locator(".photo .name").last).to_have_text("00399.jpg")
        expect(plain.locator(".pages")).to_contain_text("Page 2 of 3")
        find(plain, text="0044")
        expect(plain.locator(".photo")).to_have_count(11)
        context.close()


def test_a_long_batch_opened_at_its_second_page_is_whole_and_in_order(browser: Browser) -> None:
    with running_site(memory_cloud(SystemClock()), work=False) as site:
        page = browser.new_page(viewport=DESKTOP)
        without_thumbnails(page)
        page.goto(f"{stored(site, 450)}?page=2")
        names = page.locator(".photo .name")
        expect(names).to_have_count(450)
        expect(names.first).to_have_text("00000.jpg")
        assert names.all_text_contents() == [f"{number:05d}.jpg" for number in range(450)]
        page.context.close()


def test_the_page_of_five_thousand_answered_photos_is_light() -> None:
    with running_site(memory_cloud(SystemClock()), work=False) as site:
        address = stored(site, 5_000)
        page = requests.get(address, headers={"Accept": "text/html"}, timeout=60).content
        stream = requests.get(f"{address}/events", timeout=60).content
        print(f"page {len(page) / 1e6:.2f} MB, stream {len(stream) / 1e6:.2f} MB")
        assert len(page) + len(stream) < 2_500_000


def is_opened(card: Locator) -> bool:
    """Whether a card shows the stages of its photo; asks for them again where the server was too busy to answer."""
    again = card.get_by_role("button", name="Try again")
    if again.is_visible():
        again.click()
    return card.locator(".stages dt").first.is_visible()


def test_five_thousand_answered_photos_are_whole_on_one_page(browser: Browser) -> None:
    with running_site(memory_cloud(SystemClock()), work=False) as site:
        page = browser.new_page(viewport=DESKTOP)
        without_thumbnails(page)
        page.goto(stored(site, 5_000))
        expect(page.locator("#fact-done")).to_have_text("5,000")
        photos = page.locator(".photo")
        expect(photos).to_have_count(5_000)
        find(page, text="0499", sort="sure")
        expect(photos).to_have_count(11)
        page.locator(".photo summary").first.click()
        expect(page.locator(".stages dt").first).to_be_visible()
        find(page)
        expect(photos).to_have_count(5_000)
        expect(photos.first.locator(".name")).to_have_text("00000.jpg")
        photos.last.scroll_into_view_if_needed()
        expect(photos.last.locator(".name")).to_have_text("04999.jpg")
        photos.last.locator("summary").click()
        until(lambda: is_opened(photos.last), 90)
        page.context.close()


def test_what_an_address_asks_for_wrongly_is_as_if_it_did_not() -> None:
    assert View.of({"show": "x", "sort": "y", "page": "-3"}) == View()
    assert View.of({"page": "9" * 30}).page == 1
    assert View.of({"text": " a ", "page": "2"}) == View(text="a", page=2)


def test_what_is_not_answered_comes_last_in_every_order_but_by_name() -> None:
    job = Job("1" * 20, 0, "a.jpg", "")
    waiting = Photo(job, True, None)
    done = Photo(
        Job("1" * 20, 1, "b.jpg", ""), True, Result("", "done", (Label("x", "", 0.5),), seconds={"infer": 1.0})
    )
    for sort in ("label", "sure", "slow"):
        assert View(sort=sort).found([waiting, done]) == [done, waiting]
    assert View(sort="name").found([done, waiting]) == [waiting, done]


def test_a_timeline_has_only_what_was_measured() -> None:
    stages = timeline({"infer": 3.0, "queue": 1.0, "unknown": 9.0})
    assert [(one.name, one.start, one.width, one.duration) for one in stages] == [
        ("queue", 0.0, 25.0, "1.0 s"),
        ("infer", 25.0, 75.0, "3.0 s"),
    ]
    assert timeline({}) == []
    assert re.fullmatch(r"\d+ ms", duration(0.0123, exact=True))
    assert duration(12.4, exact=True) == "12 s"
