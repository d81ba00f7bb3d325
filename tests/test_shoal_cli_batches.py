"""Batches on the command line: what is written, stopped, listed, read again and cancelled."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner, Result
from PIL import Image

from shoal import settings
from shoal.errors import Permanent, Retryable
from shoal.lifecycle import UP_LOCK, only_one
from shoal.photo_record import COLUMNS, NAMES
from shoal.state_folder import page_address
from shoal_cli.__main__ import shoal
from shoal_cli._batches import _following, _sent
from shoal_cli._batches._boxes import CocoFile, Drawings
from shoal_cli._batches._following import answers
from shoal_cli._client import PAGE, Client
from tests import web_fixtures
from tests.waiting import until
from tests.web_fixtures import Site, jpeg, running_site
from web_tier.watching.batch_cost import BatchCost

JSON_FIELDS = {column.name for column in COLUMNS if not column.table_only}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


@pytest.fixture
def slow() -> Iterator[Site]:
    """A Shoal whose worker labels only when the test says so."""
    with running_site(work=False) as running:
        yield running


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOAL_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("test_0.jpg", "fail.jpg", "street.jpg"):
        (folder / name).write_bytes(jpeg(size=(64, 48)))
    return folder


def run(*words: str | Path, status: int = 0) -> Result:
    done = CliRunner().invoke(shoal, list(map(str, words)))
    assert done.exit_code == status, (done.output, done.exception)
    return done


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def batch_of(done: Result) -> str:
    return done.stderr.partition("Batch ")[2].partition(":")[0]


def test_csv_and_json_of_command_page_and_api_have_the_same_columns(site: Site, photos: Path) -> None:
    done = run("classify", "--url", site.url, "--json", photos, status=2)
    batch = batch_of(done)
    own = [json.loads(line) for line in done.stdout.splitlines()]
    api = requests.get(f"{site.url}/v1/batches/{batch}/results", timeout=10).json()["photos"]
    page = requests.get(f"{site.url}/batches/{batch}.json", timeout=10).json()["photos"]
    listed = table(run("results", "--csv", batch, status=2).stdout)
    downloaded = table(requests.get(f"{site.url}/batches/{batch}.csv", timeout=10).text)

    assert api == page
    assert [name for name in own[0] if name in NAMES] == [name for name in NAMES if name in own[0]]
    assert [{name: one[name] for name in one if name != "path"} for one in own] == api
    assert all(set(one) >= JSON_FIELDS for one in api)
    assert tuple(listed[0]) == tuple(downloaded[0]) == NAMES
    assert [replace_path(row) for row in listed] == [replace_path(row) for row in downloaded]
    assert {row["path"] for row in listed} == {str(path) for path in photos.iterdir()}
    assert {row["batch"] for row in listed} == {batch}
    assert "1 with a warning: the photo is far too blurred\n" in done.stderr
    assert "person 90.0% (warning: the photo is far too blurred)\n" in run("results", batch, status=2).stdout


def replace_path(row: dict[str, str]) -> dict[str, str]:
    return row | {"path": ""}


def test_probabilities_are_whole_and_a_failed_photo_has_none(site: Site, photos: Path) -> None:
    done = run("classify", "--url", site.url, "--csv", photos / "test_0.jpg", photos / "fail.jpg", status=2)
    labelled, failed = table(done.stdout)
    [exact] = [json.loads(run("results", "--json", batch_of(done), status=2).stdout.splitlines()[0])]

    assert (failed["state"], failed["label"], failed["probability"]) == ("failed", "", "")
    assert failed["error"] == "the picture is cut off"
    assert float(labelled["probability"]) == exact["probability"] == exact["labels"][0]["probability"]
    assert round(exact["probability"], 4) != exact["probability"]
    assert labelled["labels"].count("; ") == 4


def test_top_says_how_many_labels_are_told(site: Site, photos: Path) -> None:
    words = ("classify", "--url", site.url, "--top", "2", photos / "test_0.jpg")
    [row] = table(run(*words, "--csv").stdout)
    assert row["labels"].count("; ") == 1
    assert len(json.loads(run(*words, "--json").stdout)["labels"]) == 2
    assert run(*words).stdout.count("%") == 2


def test_two_forms_at_once_are_refused(photos: Path) -> None:
    told = run("classify", "--json", "--csv", photos, status=2).stderr
    assert "--json and --csv are two forms of one output: give one of them." in told


@pytest.mark.parametrize("name", ["found.csv", "found.jsonl", "found.txt"])
def test_out_writes_a_file_of_the_form_that_its_name_says(site: Site, photos: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    done = run("classify", "--url", site.url, "--out", file, photos / "test_0.jpg")
    text = file.read_text()

    assert done.stdout == ""
    if file.suffix == ".csv":
        label = table(text)[0]["label"]
    elif file.suffix == ".jsonl":
        label = json.loads(text)["label"]
    else:
        label = text.partition(", ")[2].partition(" ")[0]
    assert label == "hair_spray"


def test_a_folder_that_does_not_exist_is_told_before_anything_is_sent(photos: Path, tmp_path: Path) -> None:
    told = run("classify", "--out", tmp_path / "no" / "a.csv", photos, status=2).stderr
    assert f"There is no folder {tmp_path}/no for a.csv." in told
    told = run("classify", "--out", tmp_path / "a.xlsx", photos, status=2).stderr
    assert "--out writes .txt, .csv, .json, .jsonl, not .xlsx" in " ".join(told.split())


def test_coco_tells_photos_of_the_same_name_in_two_folders_apart(site: Site, photos: Path, tmp_path: Path) -> None:
    for name in ("north", "south"):
        (tmp_path / "in" / name).mkdir(parents=True)
        shutil.copy(photos / "street.jpg", tmp_path / "in" / name)
    run("classify", "--url", site.url, "--coco", tmp_path / "coco.json", tmp_path / "in")
    told = json.loads((tmp_path / "coco.json").read_text())
    assert [image["file_name"] for image in told["images"]] == ["north/street.jpg", "south/street.jpg"]


def test_the_categories_are_all_classes_of_our_detector_whatever_was_found(tmp_path: Path) -> None:
    coco = CocoFile(tmp_path / "coco.json", 100)
    coco.add({"state": "done", "index": 0, "name": "a.jpg", "model": "ssd_mobilenet_v2"}, None)
    coco.write()
    categories = json.loads((tmp_path / "coco.json").read_text())["categories"]
    assert len(categories) == 80
    assert (categories[0], categories[-1]) == ({"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"})


def test_coco_has_the_size_of_the_picture_and_not_one_computed_from_a_rounded_box(tmp_path: Path) -> None:
    Image.new("RGB", (500, 301)).save(tmp_path / "a.jpg")
    found = [
        {"name": "cup", "class_id": 47, "score": 0.9, "box": box, "relative_box": relative}
        for box, relative in (
            ([43, 79, 267, 254], [0.0851, 0.2612, 0.5332, 0.8452]),
            ([90, 1, 499, 256], [0.18, 0.0022, 0.9979, 0.8511]),
        )
    ]
    photo = {"state": "done", "index": 0, "name": "a.jpg", "model": "", "detections": found}
    coco = CocoFile(tmp_path / "coco.json", 1_000_000)
    coco.add(photo, tmp_path / "a.jpg")
    coco.add(photo | {"index": 1}, tmp_path / "moved.jpg")
    coco.add(photo | {"index": 2, "detections": []}, None)
    coco.write()
    sizes = [(one["width"], one["height"]) for one in json.loads((tmp_path / "coco.json").read_text())["images"]]
    assert sizes == [(500, 301), (500, 301), (0, 0)]
    drawings = Drawings(tmp_path / "drawn", 1_000_000)
    for index, name in enumerate(("dining_table", "dining table")):  # for people, as on the page
        drawings.add(photo | {"index": index, "detections": [found[0] | {"name": name}]}, tmp_path / "a.jpg")
    assert len({path.read_bytes() for path in (tmp_path / "drawn").iterdir()}) == 1


def test_each_detected_object_is_a_row_a_box_and_an_annotation(site: Site, photos: Path, tmp_path: Path) -> None:
    drawn, coco = tmp_path / "drawn", tmp_path / "coco.json"
    words = ("classify", "--url", site.url, "--csv", "--draw", drawn, "--coco", coco)
    done = run(*words, photos / "street.jpg", photos / "test_0.jpg")
    *objects, plain = table(done.stdout)

    assert [(row["label"], row["class_id"], row["score"]) for row in objects] == [("person", "1", "0.9")] * 2
    assert [[int(row[edge]) for edge in ("left", "top", "right", "bottom")] for row in objects] == [
        [8, 4, 24, 44], [32, 4, 48, 44],
    ]  # fmt: skip
    assert (plain["label"], plain["left"]) == ("hair_spray", "")
    [picture] = drawn.iterdir()
    with Image.open(picture) as opened:
        assert opened.size == (64, 48)
        red, green, blue = opened.convert("RGB").getpixel((8, 40))  # type: ignore[misc]
    assert red > 200 > 100 > blue, (red, green, blue)
    told = json.loads(coco.read_text())
    assert told["images"] == [
        {"id": 0, "file_name": "street.jpg", "width": 64, "height": 48},
        {"id": 1, "file_name": "test_0.jpg", "width": 64, "height": 48},
    ]
    assert told["categories"] == [{"id": 1, "name": "person"}]
    assert told["annotations"][1] | {"score": 0} == {
        "id": 2, "image_id": 0, "category_id": 1, "bbox": [32, 4, 16, 40], "area": 640, "iscrowd": 0, "score": 0,
    }  # fmt: skip
    assert "1 picture with boxes in" in done.stderr
    assert "2 objects of 2 pictures in" in done.stderr
    told = run("classify", "--url", site.url, "--coco", coco, photos / "test_0.jpg").stderr
    assert f"0 objects of 1 picture in {coco}: no objects were detected, which only models" in " ".join(told.split())


def test_answers_that_were_remembered_and_failures_are_no_speed(
    site: Site, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run("classify", "--url", site.url, photos / "test_0.jpg").stderr
    answer = web_fixtures.answer_of
    monkeypatch.setattr(web_fixtures, "answer_of", lambda job: replace(answer(job), cached=True))
    second = run("classify", "--url", site.url, photos / "test_0.jpg").stderr

    assert "/s; 0 failed" in first
    assert "1 from the answer cache; 0 failed" in second
    assert "/s;" not in second
    assert "Latency from upload" in first
    (photos / "notes.md").touch()
    (photos / "test_0.jpg").unlink()
    (photos / "street.jpg").unlink()
    failed = run("classify", "--url", site.url, photos, status=2).stderr
    assert "/s" not in failed.partition("; 1 failed")[0].partition("1 photo in")[2]
    assert "1 other file skipped by suffix (.md)" in failed


def test_batches_are_listed_read_again_and_cancelled(slow: Site, photos: Path, state: Path) -> None:
    batch = requests.post(f"{slow.url}/batches", timeout=10).json()["batch"]
    files = [("inputFile", (name, jpeg())) for name in ("a.jpg", "b.jpg", "c.jpg")]
    requests.post(f"{slow.url}/batches/{batch}/photos", files=files, timeout=10).raise_for_status()
    slow.worker.step(1)
    address = f"{slow.url}/batches/{batch}"

    rows = [json.loads(line) for line in run("results", "--json", address, status=2).stdout.splitlines()]
    assert sorted(row["state"] for row in rows) == ["done", "queued", "queued"]
    assert "2 wait" in run("results", address, status=2).stderr
    assert run("cancel", address).stdout == "2 photos cancelled, 1 had been labelled.\n"
    assert (
        run("cancel", address).stdout == "Nothing was left to cancel; 2 were cancelled before, 1 had been labelled.\n"
    )
    assert "0 failed, 2 cancelled" in run("results", address, status=2).stderr
    rows = table(run("results", "--csv", address, status=2).stdout)
    assert sorted(row["state"] for row in rows) == ["cancelled", "cancelled", "done"]
    assert requests.get(f"{slow.url}/v1/batches/{batch}", timeout=10).json()["state"] == "cancelled"

    assert "cancelled stay so" in run("retry", address).stdout
    assert isinstance(run("delete", address, status=1).exception, SystemExit)  # nobody said yes
    assert run("delete", "--yes", address).stdout == "3 photos deleted, with results and corrections.\n"
    assert isinstance(run("results", address, status=1).exception, Permanent)

    empty = requests.post(f"{slow.url}/batches", timeout=10).json()["batch"]
    assert isinstance(run("results", "--url", slow.url, empty, status=1).exception, Permanent)
    assert "no batch was sent" in run("batches").stderr
    for wrong in ("nonsense", "http://127.0.0.1:1/batches/"):
        assert isinstance(run("results", wrong, status=1).exception, Permanent)


def test_what_was_sent_from_here_is_listed_newest_first(
    site: Site, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = batch_of(run("classify", "--url", site.url, photos / "test_0.jpg"))
    new = batch_of(run("classify", "--url", site.url, photos, status=2))
    rows = [json.loads(line) for line in run("batches", "--json").stdout.splitlines()]

    assert [row["batch"] for row in rows] == [new, old]
    assert (rows[0]["photos"], rows[0]["done"], rows[0]["failed"], rows[0]["state"]) == (3, 2, 1, "done")
    assert rows[0]["folder"] == str(photos)
    (photos / "inner").mkdir()
    (photos / "inner" / "a.jpg").write_bytes((photos / "test_0.jpg").read_bytes())
    run("classify", "--url", site.url, photos / "inner", photos / "street.jpg")
    assert json.loads(run("batches", "--json", "--last", "1").stdout)["folder"] == str(photos)
    assert rows[0]["cost"] is None
    with monkeypatch.context() as patched:
        cost = {"dollars": 0.00214, "words": "under a cent ($0.0021)"}
        patched.setattr(BatchCost, "told", lambda *_: cost)
        assert "$0.0021" in run("batches").stdout
        assert "1 failed; under a cent ($0.0021)." in run("results", new, status=2).stderr
    shown = run("batches").stdout
    assert shown.index(new) < shown.index(old)
    assert "Batch" not in run("results", new, status=2).stdout
    assert str(photos / "test_0.jpg") in run("results", new, status=2).stdout
    assert run("retry", new).stdout.startswith("1 photo is labelled again: ")
    assert "fail.jpg: failed" in run("results", "--wait", new, status=2).stdout


def test_whoever_only_sends_photos_gets_no_folder_where_he_stands(
    site: Site, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("SHOAL_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "users"))
    one = batch_of(run("classify", "--url", site.url, photos / "test_0.jpg"))
    assert list(here.iterdir()) == []
    (here / ".shoal").mkdir()
    two = batch_of(run("classify", "--url", site.url, photos / "test_0.jpg"))
    assert [path.name for path in here.glob(".shoal/sent/*")] == [f"{two}.json"]
    assert [json.loads(line)["batch"] for line in run("batches", "--json").stdout.splitlines()] == [two, one]
    run("delete", "--yes", one)
    assert len(run("batches", "--json").stdout.splitlines()) == 1


class Started:
    """`shoal classify` as a process, its input and its messages on a terminal if `terminal`."""

    def __init__(self, *words: str | Path, terminal: bool) -> None:
        ours, theirs = pty.openpty() if terminal else os.pipe()
        command = [sys.executable, "-m", "shoal_cli", "classify", *map(str, words)]
        self.process = subprocess.Popen(
            command, stdin=theirs if terminal else subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, text=True
        )
        os.close(theirs)
        self._ours = ours
        self.told = ""

    def read_until(self, words: str) -> None:
        while words not in self.told:
            more = os.read(self._ours, 4096)
            assert more, f"it ended: {self.told}"
            self.told += more.decode()

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def end(self) -> tuple[int, str]:
        """The exit status, and what it wrote."""
        out, _ = self.process.communicate(timeout=30)
        os.close(self._ours)
        return self.process.returncode, out


def send_and_interrupt(slow: Site, photos: Path, terminal: bool) -> Started:
    """Send two photos, label the first, press Ctrl-C when it is written."""
    started = Started("--url", slow.url, "--csv", photos / "test_0.jpg", photos / "street.jpg", terminal=terminal)
    until(lambda: slow.cloud.requests.depth().total == 2)
    slow.worker.step(1)
    assert started.process.stdout is not None
    assert started.process.stdout.readline().startswith("path,name,batch,index,state,label,")
    assert "hair_spray" in started.process.stdout.readline()  # long before the batch is finished
    started.process.send_signal(signal.SIGINT)
    return started


def state_of(slow: Site, started: Started) -> dict[str, Any]:
    batch = started.told.partition("Batch ")[2].partition(":")[0]
    return dict(requests.get(f"{slow.url}/v1/batches/{batch}", timeout=10).json())


@pytest.mark.parametrize(
    ("typed", "state_then"), [("c", "cancelled"), ("cancel", "cancelled"), ("leave", "queued"), ("", "queued")]
)
def test_ctrl_c_asks_whether_the_batch_goes_on(slow: Site, photos: Path, typed: str, state_then: str) -> None:
    started = send_and_interrupt(slow, photos, terminal=True)
    started.read_until("or cancel it (c)?")
    started.type(f"{typed}\n")
    # One of the labels may not be in the file yet.
    started.read_until("had been labelled. `shoal results" if state_then == "cancelled" else "shoal cancel")

    assert state_of(slow, started)["state"] == state_then
    assert started.end()[0] == 130


def test_without_a_terminal_ctrl_c_leaves_it_running_and_says_how_to_come_back(slow: Site, photos: Path) -> None:
    started = send_and_interrupt(slow, photos, terminal=False)
    started.read_until("ends it.\n")
    assert started.end()[0] == 130
    found = state_of(slow, started)
    assert (found["queued"], found["done"]) == (1, 1)
    slow.worker.step()
    assert f"`shoal results {found['batch']}` shows them" in started.told
    rows = table(run("results", "--wait", "--csv", found["batch"]).stdout)
    assert [row["label"] for row in rows] == ["hair_spray", "person", "person"]


def test_a_batch_of_which_a_part_was_sent_says_so_and_is_resumed(photos: Path) -> None:
    paths = sorted(photos.iterdir())
    with running_site() as site:
        client = Client(site.url)
        sent = _sent.keep(settings.load(), client, client.new_batch(), paths)
        assert sum(client.upload(sent.batch, paths, there=(1,))) == 2

        told = run("results", "--wait", sent.batch, status=2).stderr
        assert "2 of 3 photos were sent, 1 was not: `shoal classify --resume" in told
        rows = table(run("classify", "--csv", "--resume", sent.batch, status=2).stdout)
        assert list(dict.fromkeys(row["name"] for row in rows)) == [path.name for path in paths]
        assert "was not" not in run("results", sent.batch, status=2).stderr


def test_answers_behind_a_photo_that_waits_are_counted() -> None:
    states = [["done", "queued", "done", "failed", "queued"], ["done"] * 5]

    class Looked(Client):
        def photos(self, batch: str, after: int = -1, page: int = 0) -> Iterator[dict[str, Any]]:
            found = states.pop(0)
            return iter([{"index": i, "state": state} for i, state in enumerate(found) if i > after])

    counts: list[int] = []
    rows = list(answers(Looked("http://127.0.0.1:1"), "b", 5, 60.0, lambda count, _: counts.append(count)))
    assert [row["index"] for row in rows] == [0, 1, 2, 3, 4]
    assert counts == [3, 5]


def test_a_look_asks_for_about_as_many_photos_as_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_following, "LEAST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(_following, "LONGEST_PAUSE_SECONDS", 0.0)
    total, done, pages = 3000, 0, list[int]()

    class Working(Client):
        """Each look finds ten more answers. That of photo 100 comes last: the others are behind it."""

        def photos(self, batch: str, after: int = -1, page: int = 0) -> Iterator[dict[str, Any]]:
            nonlocal done
            done += 10
            pages.append(page)
            for index in range(after + 1, total):
                answered = index < done and (index != 100 or done >= total)
                yield {"index": index, "state": "done" if answered else "queued"}

    rows = list(answers(Working("http://127.0.0.1:1"), "b", total, 60.0, lambda *_: None))

    assert [row["index"] for row in rows] == list(range(total))
    assert pages[1:10] == [20] * 9
    assert max(pages[20:]) == PAGE  # while they are behind a photo that waits, all that may be answered are counted


def test_a_shoal_that_goes_away_is_asked_until_the_patience_ends(photos: Path) -> None:
    paths = sorted(photos.iterdir())
    told: list[str] = []
    with running_site(work=False) as site:
        client = Client(site.url)
        batch = client.new_batch()
        sent = _sent.keep(settings.load(), client, batch, paths)
    with pytest.raises(Retryable):
        list(client.upload(batch, paths, patience=0.0, away=told.append))
    with pytest.raises(Retryable):
        list(answers(client, batch, 1, 0.0, lambda _, why: told.append(why)))
    assert all("Trying again for 0 s" in sentence for sentence in told)
    assert len(told) == 2
    failed = run("classify", "--resume", sent.batch, "--timeout", "0", status=1).exception
    assert "no Shoal answers" in str(failed)

    with running_site(cloud=site.cloud, port=site.port):
        assert len(run("classify", "--resume", batch, status=2).stdout.splitlines()) == 3


def test_commands_find_the_page_of_the_shoal_that_runs_in_their_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SHOAL_HOST", "SHOAL_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SHOAL_STATE_DIR", str(tmp_path))
    page_address.tell(tmp_path, "http://127.0.0.1:8765")
    assert page_address.page_address(settings.load()) == "http://127.0.0.1:8000"  # nothing runs there any more
    with only_one(tmp_path / UP_LOCK, "it runs already"):
        assert page_address.page_address(settings.load()) == "http://127.0.0.1:8765"
        monkeypatch.setenv("SHOAL_PORT", "8001")
        assert page_address.page_address(settings.load()) == "http://127.0.0.1:8001"


def test_resume_needs_a_batch_of_ours_and_no_paths(site: Site, photos: Path) -> None:
    assert "or --resume BATCH" in run("classify", "--resume", "a", photos, status=2).stderr
    strange = Client(site.url).new_batch()
    assert "was not sent from here" in str(run("classify", "--resume", strange, status=1).exception)
    own = batch_of(run("classify", "--url", site.url, photos / "test_0.jpg"))
    (photos / "test_0.jpg").unlink()
    assert "is no longer there" in str(run("classify", "--resume", own, status=1).exception)


def test_an_address_needs_no_scheme_and_another_scheme_is_refused(site: Site, photos: Path) -> None:
    short = site.url.removeprefix("http://")
    done = run("classify", "--url", short, photos / "test_0.jpg")
    assert f": {site.url}/batches/" in done.stderr
    run("results", f"{short}/batches/{batch_of(done)}")
    for command in (("classify", photos), ("compare", photos), ("results", "x"), ("cancel", "x")):
        told = str(run(*command, "--url", "ftp://127.0.0.1", status=1).exception)
        assert "begins with ftp://: Shoal answers at http:// and https://" in told
    assert "is not an address" in str(run("cancel", "--url", "http:///x", "x", status=1).exception)
