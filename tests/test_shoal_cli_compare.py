"""`shoal compare` with a running Shoal."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from shoal import settings
from shoal.ports import Beat
from shoal_cli.__main__ import shoal
from shoal_cli._batches import compare
from tests import device_fixtures
from tests.device_fixtures import COLOURS
from tests.waiting import until
from tests.web_fixtures import Site, jpeg, running_site
from tests.web_screenshots import CHROMIUM


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site() as running:
        running.cloud.register.beat("i-1", Beat(1, peak_bytes=300_000_000))
        running.cloud.register.beat("i-2", Beat(1, peak_bytes=200_000_000))
        yield running


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        (folder / f"test_0_{number}.jpg").write_bytes(jpeg((number, 9, 9), size=(640, 480)))
    return folder


def run(*words: str | Path, status: int = 0) -> Result:
    done = CliRunner().invoke(shoal, ["compare", *map(str, words)])
    assert done.exit_code == status, (done.output, done.exception)
    return done


def test_every_lane_is_measured_and_the_answer_told(site: Site, photos: Path, tmp_path: Path) -> None:
    table, plot = tmp_path / "lanes.csv", tmp_path / "plots.png"
    done = run("--url", site.url, "--venue", "pool", "--rounds", "2", "--csv", table, "--png", plot, "--json", photos)
    told = json.loads(done.stdout)
    whole, small = told["lanes"]
    assert (whole["venue"], whole["size"], small["size"]) == ("pool", "as it is", "resized")
    assert (whole["labelled"], small["labelled"], whole["failed"], small["failed"]) == (6, 6, 0, 0)
    assert (whole["agreement"], small["agreement"]) == (1.0, 1.0)
    assert (whole["peak_bytes"], small["peak_bytes"]) == (300_000_000, 300_000_000)
    assert 0 < whole["seconds"]["total"]["least"] <= whole["seconds"]["total"]["p95"]
    assert told["answer"].endswith("a month.")
    assert "no other venue was measured" in told["answer"]
    with table.open(newline="") as opened:
        assert [row["venue"] for row in csv.DictReader(opened)] == ["pool", "pool"]
    with Image.open(plot) as drawn:
        assert drawn.width > drawn.height > 300


def test_a_venue_that_is_not_there_is_a_row_that_says_why(site: Site, photos: Path) -> None:
    asked = [word for venue in ("moon", "pool", "lambda", "browser") for word in ("--venue", venue)]
    done = run("--url", site.url, *asked, "--rounds", "1", photos)
    assert "Shoal is not running" in done.output.replace("\n", " ")
    assert "`shoal models prepare --browser`" in done.output.replace("\n", " ")
    assert "no venue 'moon'" in done.output.replace("\n", " ")
    assert "no other venue was measured" in done.output.replace("\n", " ")
    assert "…" not in done.stdout  # no terminal: nothing is cut
    assert "images/s" in done.stdout


def test_the_browser_is_measured_by_a_headless_one_and_sends_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_CHROMIUM", CHROMIUM)
    red = [photos / f"test_0_{number}.jpg" for number in range(3)]
    for file in red:
        file.write_bytes(jpeg(COLOURS["red"], size=(640, 480)))
    with running_site(cache_dir=device_fixtures.prepare(tmp_path / "cache")) as prepared:
        words = ("--url", prepared.url, "--venue", "browser", "--rounds", "2")
        told = json.loads(run(*words, "--concurrency", "2", "--json", photos).stdout)
        said = run(*words, "--delay-ms", "300", photos).stdout
        assert not list(prepared.cloud.inputs.list(""))
    [lane] = told["lanes"]
    assert (lane["venue"], lane["size"], lane["labelled"], lane["failed"]) == ("browser", "as it is", 6, 0)
    assert (lane["sent_bytes"], lane["seconds"]["transfer"]["most"]) == (0, 0)
    assert lane["fetched_bytes"] > 3_000_000  # the program
    assert lane["peak_bytes"] > 10_000_000
    assert lane["kept_seconds"] > 0
    assert told["costs"]["browser"]["a_month"]["100"] == told["costs"]["browser"]["a_month"]["1000000"] > 0
    assert "Nothing of a photo leaves it." in said
    assert re.search(r"\d s, \d+.\d\d later", said)


def test_a_browser_that_is_not_there_or_ends_is_a_row_that_says_why(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\necho it has no display >&2\n")
    broken.chmod(0o755)
    with running_site(work=False, cache_dir=device_fixtures.prepare(tmp_path / "cache")) as prepared:
        words = ("--url", prepared.url, "--venue", "browser", photos)
        monkeypatch.setenv("SHOAL_CHROMIUM", "no-such-program")
        assert "install one, or set SHOAL_CHROMIUM" in run(*words).stdout
        monkeypatch.setenv("SHOAL_CHROMIUM", str(broken))
        assert "Chromium ended: it has no display" in run(*words).stdout


def test_a_pool_that_the_server_does_not_have_is_not_asked(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = settings.load()
    assert compare._available(chosen, ("local",), False) == ("local",)
    assert "The pool is not measured: this Shoal offers local alone." in capsys.readouterr().err
    assert compare._available(chosen, ("pool",), True) == ("local", "pool", "browser")
    assert compare._available(chosen, ("pool",), False) == ("local", "pool")  # the answer says how to allow it
    assert compare._available(chosen, (), False) == ("local", "pool")
    assert capsys.readouterr().err == ""


def test_a_link_is_emulated_and_said(site: Site, photos: Path) -> None:
    words = ("--venue", "pool", "--rounds", "1", "--mbit", "8", "--delay-ms", "20")
    done = run("--url", site.url, *words, "--json", photos)
    assert json.loads(done.stdout)["lanes"][0]["seconds"]["total"]["least"] >= 0.04
    told = run("--url", site.url, *words, photos).stdout
    assert "The link is emulated: 8 Mbit/s, 20 ms each way." in told


def test_ctrl_c_keeps_what_was_measured(site: Site, photos: Path, tmp_path: Path) -> None:
    words = ("compare", "--url", site.url, "--venue", "pool", "--rounds", "1000", str(photos))
    said = tmp_path / "said"
    with said.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "shoal_cli", *words],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ,
        )
    until(lambda: "round 1 done" in said.read_text())
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "no other venue was measured" in out.replace("\n", " ")


def test_without_a_photo_that_opens_there_is_nothing_to_compare(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no picture")
    done = CliRunner().invoke(shoal, ["compare", "--url", site.url, str(tmp_path / "a.jpg")])
    assert "none of these files is a photo that can be resized" in str(done.exception)
