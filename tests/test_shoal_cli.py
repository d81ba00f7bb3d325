"""`shoal classify` as a user and as a script run it, against a web tier with a fake worker."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from shoal.errors import ShoalError
from shoal.settings import load
from shoal_cli._batches._following import Bars, pause_seconds
from shoal_cli._batches.classify import _summarise
from shoal_cli.up import MAX_RESTARTS, SystemProcesses
from tests.web_fixtures import Site, jpeg, running_site


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    for name in ("test_0.jpg", "deep/b.JPEG", "fail.png", "notes.txt"):
        (tmp_path / name).write_bytes(jpeg())
    return tmp_path


@pytest.fixture(autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder beside the photos."""
    found = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("SHOAL_STATE_DIR", str(found))
    return found


def classify(site: Site, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "shoal_cli", "classify", "--url", site.url, *map(str, arguments)]
    return subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=60, check=False)


def test_files_are_labelled_in_their_order(site: Site, folder: Path) -> None:
    done = classify(site, folder / "test_0.jpg", folder / "deep/b.JPEG")
    assert (done.returncode, done.stdout.count("\n")) == (0, 2)
    assert done.stdout.startswith(f"{folder}/test_0.jpg, hair_spray ")
    assert "2 photos in" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_a_folder_is_searched_for_photos_and_a_failed_one_is_told(site: Site, folder: Path) -> None:
    done = classify(site, "--csv", folder)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [Path(row["name"]).name for row in rows] == ["b.JPEG", "fail.png", "test_0.jpg"]
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    assert (done.returncode, float(rows[0]["probability"]) > 0) == (2, True)


def test_json_has_a_line_a_photo(site: Site, folder: Path) -> None:
    (one,) = map(json.loads, classify(site, "--json", folder / "test_0.jpg").stdout.splitlines())
    assert (one["path"], one["labels"][0]["name"]) == (f"{folder}/test_0.jpg", "hair_spray")


def test_many_photos_keep_their_places(site: Site, tmp_path: Path) -> None:
    for number in range(45):
        (tmp_path / f"{number:03d}.jpg").write_bytes(jpeg((number, 0, 0)))
    done = classify(site, tmp_path)
    assert [Path(line.split(",")[0]).stem for line in done.stdout.splitlines()] == [f"{n:03d}" for n in range(45)]


def test_what_stops_everything_is_one_line_and_status_1(site: Site, folder: Path) -> None:
    empty = folder / "empty"
    empty.mkdir()
    for arguments, told in (
        ([empty], "there are no photos in"),
        (
            ["--model", "resnet5", folder],
            "The model 'resnet5' is not served here: resnet50 can be chosen. Did you mean resnet50?",
        ),
        (["--url", "http://127.0.0.1:1", folder], "no Shoal answers at http://127.0.0.1:1"),
    ):
        done = classify(site, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert told in done.stderr
        assert done.stderr.count("\n") == 1


def test_what_systems_leave_behind_is_passed_over_and_counted_in_one_line(site: Site, folder: Path) -> None:
    for name in ("__MACOSX/._b.jpg", "._b.jpg", "Thumbs.db", "@eaDir/b.jpg/SYNOPHOTO_THUMB_M.jpg", ".thumbnails/b.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg())

    whole = classify(site, folder)
    starred = classify(site, *sorted(path for path in folder.iterdir() if not path.name.startswith(".")))

    assert whole.stdout.count("\n") == 3
    assert "passed over 5 hidden or system files and folders" in whole.stderr
    assert "1 other file skipped by suffix (.txt)" in whole.stderr
    assert whole.stderr.count("passed over 5") == 1
    assert starred.stdout.count("\n") == 4  # notes.txt was named
    assert "passed over 3 hidden or system files and folders" in starred.stderr


@pytest.mark.parametrize("form", ["--json", "--csv", ""])
def test_a_name_that_is_not_utf_8_is_readable_and_its_photo_is_labelled(site: Site, tmp_path: Path, form: str) -> None:
    (tmp_path / os.fsdecode(b"M\xfcnchen")).mkdir()
    (tmp_path / os.fsdecode(b"M\xfcnchen/\xe9t\xe9.jpg")).write_bytes(jpeg())

    done = classify(site, *filter(None, [form]), tmp_path)

    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert "M\u00fcnchen/\u00e9t\u00e9.jpg" in done.stdout
    assert "1 photo in" in done.stderr
    assert "0 failed" in done.stderr


@pytest.mark.parametrize(
    ("answered", "total", "took", "pause"),
    [(0, 1, 1.0, 0.3), (0, 500, 6.0, 0.6), (100, 500, 5.0, 2.0), (400, 500, 20.0, 0.5), (499, 500, 30.0, 0.3)],
)
def test_a_long_batch_is_looked_at_seldom_and_its_end_is_seen_at_once(
    answered: int, total: int, took: float, pause: float
) -> None:
    assert pause_seconds(answered, total, took) == pytest.approx(pause)


class EndedPart:
    """A part of `shoal up` that has just been killed."""

    status = -9
    log = Path("part.log")

    def __init__(self, name: str) -> None:
        self.name = name
        self.starts = 0

    def read_lines(self) -> list[str]:
        return []

    def stop(self, seconds: float) -> None:
        pass

    def start(self) -> None:
        self.starts += 1


def test_a_part_that_ends_is_started_again_a_few_times_whatever_the_others_do(tmp_path: Path) -> None:
    system = SystemProcesses(load({"SHOAL_STATE_DIR": str(tmp_path)}))
    web, controller = EndedPart("web"), EndedPart("controller")
    for _ in range(MAX_RESTARTS):
        for part in (web, controller):
            system._revive(part)  # type: ignore[arg-type]
    assert (web.starts, controller.starts) == (MAX_RESTARTS, MAX_RESTARTS)
    with pytest.raises(ShoalError, match="the web ends again and again"):
        system._revive(web)  # type: ignore[arg-type]


def test_the_rate_says_of_how_many_photos_it_is_when_some_have_no_label(capsys: pytest.CaptureFixture[str]) -> None:
    _summarise([{"state": "done"}, *3 * [{"state": "failed"}]], 3.3, "", "page", resumed=False)
    assert capsys.readouterr().err == "4 photos in 3.3 s, 1 labelled, 0.3/s; 3 failed. page\n"


def test_a_log_is_told_now_and_then_how_far_it_is() -> None:
    """Where no bar can be drawn: after five seconds, then ever more rarely, at least once a minute."""
    now, log = 0.0, io.StringIO()
    with Bars(Console(file=log), 400, lambda: now) as bars:
        labelling = bars.bar("labelling")
        for second in range(301):
            now = float(second)
            labelling(second, "")
        labelling(400, "")
    lines = log.getvalue().splitlines()
    assert lines[0] == "Labelling: 5 of 400, 5 s"
    told = [int(line.split()[1]) for line in lines]
    pauses = [later - earlier for earlier, later in pairwise(told)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1], len(lines)) == (8, 60, 9)
    terminal = io.StringIO()
    with Bars(Console(file=terminal, force_terminal=True), 9, lambda: 99.0) as bars:
        bars.bar("labelling")(1, "")
    assert "1 of 9" not in terminal.getvalue()
