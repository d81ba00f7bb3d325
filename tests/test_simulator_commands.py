"""`shoal simulate` and `shoal replay`, as a user types them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from benchmarks.fleet import FleetWorld
from controller.policies import deadline
from shoal.errors import ShoalError
from shoal_cli._simulations import published, replay, simulate, tune


def typed(*words: str, **environment: str) -> Result:
    known = {"COLUMNS": "80", "SHOAL_STATE_DIR": "/nowhere", **environment}
    return CliRunner(env=known).invoke(simulate.command, words, catch_exceptions=False)


def test_a_table_with_every_policy_fits_a_terminal() -> None:
    printed = typed("--photos", "100", "--hours", "0.5", "--arrivals", "batches").output
    for name in ("deadline", "per_message", "keda", "target_tracking", "fixed", "oracle", "late oracle", "bound"):
        assert f"\n{name}" in printed
    assert "100 photos in 0.5 h; a photo takes 0.5 s, a boot 30 s; target 60 s" in printed
    rows = printed.splitlines()
    head = next(at for at, row in enumerate(rows) if row.startswith("wait in seconds"))
    assert all(len(row) <= 80 for row in rows[head : head + 12])
    assert "…" not in printed


def test_figures_as_json_as_a_picture_and_as_a_page(tmp_path: Path) -> None:
    file = tmp_path / "plots.png"
    asked = ("--policy", "deadline", "--policy", "keda", "--photos", "200", "--hours", "0.5", "--published")
    page = tmp_path / "page.html"
    found = json.loads(typed(*asked, "--json", "--png", str(file), "--html", str(page)).stdout)
    assert [one["name"] for one in found["scalers"]] == ["deadline", "keda"]
    assert found["scalers"][0]["first_result"] > 71
    assert found["bound"]["machine_seconds"] == pytest.approx(200 * 0.57 + 71.53)
    assert found["late_oracle"] is None
    with Image.open(file) as picture:
        assert picture.width > 1000
    text = page.read_text()
    assert_is_alone(text, plots=3)
    assert '<th scope="row">deadline*</th>' in text
    assert "71.53 s" in text
    assert "NaN" not in text


def assert_is_alone(text: str, plots: int) -> None:
    """The page is whole by itself: it loads nothing, has no script, and each name in it is there once."""
    assert text.count("<svg") == plots
    assert not re.search(r"<script|<link|<img|@import|\bsrc=|url\((?!#)|href=\"(?!#)", text)
    names = re.findall(r'\bid="([^"]+)"', text)
    assert len(names) == len(set(names))
    assert {*re.findall(r'(?:url\(|href=")#([^")]+)', text)} <= set(names)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_settings_and_options_say_what_the_policy_may_do() -> None:
    asked = ("--policy", "per_message", "--arrivals", "burst", "--photos", "100", "--hours", "0.1", "--json")
    by_setting = json.loads(typed(*asked, SHOAL_MAX_INSTANCES="3").stdout)["scalers"][0]
    by_option = json.loads(typed(*asked, "--max-instances", "2", "--gives", "1").stdout)["scalers"][0]
    assert (by_setting["most_machines"], by_option["most_machines"]) == (3, 1)
    dearer = json.loads(typed(*asked, "--price", "1", "--billing", "hour").stdout)["scalers"][0]
    assert dearer["cost"] == 15.0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--boot", "soon"], "lognormal:MEAN:SHARE"),
        (["--policy", "best"], "'best' is not simulated; these are: backlog_per_instance"),
        (["--trace", "/nowhere.csv"], "does not exist"),
    ],
)
def test_what_cannot_be_simulated_is_said_in_one_line(words: list[str], why: str) -> None:
    try:
        told = typed(*words).output
    except ShoalError as error:
        told = str(error)
    assert why in told


def test_a_ledger_is_replayed_with_the_times_that_its_controller_measured(tmp_path: Path) -> None:
    world = FleetWorld(tmp_path, deadline.policy, service_seconds=0.5, boot_seconds=20.0)
    for number in range(200):
        if number in (0, 100):
            world.send(60)
        world.tick(1, seconds=1.0)
    told = CliRunner().invoke(replay.command, [str(world.ledger_path), "--json"], catch_exceptions=False)
    found = json.loads(told.stdout)
    assert {one["photos"] for one in found["scalers"]} == {120}
    ours = next(one for one in found["scalers"] if one["name"] == "deadline")
    assert 15 < ours["first_result"] < 30
    (tmp_path / "settings.env").write_text("SHOAL_MAX_INSTANCES=1\n")  # as `shoal set` writes it
    capped = CliRunner(env={"SHOAL_STATE_DIR": str(tmp_path)}).invoke(
        replay.command, [str(world.ledger_path), "--policy", "per_message"], catch_exceptions=False
    )
    assert "at most 1 machines at" in capped.stdout
    empty = CliRunner(env={"SHOAL_STATE_DIR": str(tmp_path / "none")}).invoke(replay.command, [])
    assert "there is no ledger" in str(empty.exception)


def test_tuning_names_settings_to_copy_that_nothing_beats(tmp_path: Path) -> None:
    file, page = tmp_path / "tuned.png", tmp_path / "tuned.html"
    words = ["--arrivals", "on-off", "--photos", "100", "--hours", "0.3", "--tick", "5", "--policy", "deadline"]
    shell = CliRunner(env={"COLUMNS": "80", "SHOAL_STATE_DIR": "/nowhere"})
    found = json.loads(
        shell.invoke(
            tune.command, [*words, "--json", "--png", str(file), "--html", str(page)], catch_exceptions=False
        ).stdout
    )
    assert_is_alone(page.read_text(), plots=1)
    assert "shoal set SHOAL_POLICY=deadline" in page.read_text()
    costs = [one["figures"]["cost"] for one in found["frontier"]]
    waits = [one["figures"]["wait_p95"] for one in found["frontier"]]
    assert costs == sorted(costs)
    assert waits == sorted(waits, reverse=True)
    assert found["best"]["figures"]["within"] >= 0.99
    assert found["best"]["settings"]["SHOAL_MIN_INSTANCES"] == "0"
    assert file.stat().st_size > 10_000
    printed = shell.invoke(tune.command, words, catch_exceptions=False).output
    assert "shoal set SHOAL_POLICY=deadline SHOAL_MIN_INSTANCES=0" in printed
    never = shell.invoke(tune.command, [*words, "--boot", "90", "--max-instances", "1"], catch_exceptions=False).output
    assert "None labels 99 % of the photos within 60 s." in never


def test_published_figures_stand_beside_ours_with_the_reason() -> None:
    printed = CliRunner(env={"COLUMNS": "80"}).invoke(published.command, catch_exceptions=False).output
    assert re.search(r"\npublished +230.15 +215.67 *\n", printed)
    assert re.search(r"\n19 workers, one request at a time, boot 15 s +38 *\n", printed)
    assert "it was not work" in printed
    first, _ = json.loads(CliRunner().invoke(published.command, ["--json"], catch_exceptions=False).output)
    assert first["figures"] == {"20 photos": 230.15, "30 photos": 215.67}
    assert set(first["simulated"]["one worker does all"]) == set(first["figures"])
