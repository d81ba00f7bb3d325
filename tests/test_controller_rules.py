"""From settings to rules, and the daemon as a process: reload, dry run, `shoal why`."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from controller.budget import Budget
from controller.policies import deadline
from controller.policy import Limits, Terms
from controller.rules import Rules
from controller.sightings import Patience
from shoal import aws
from shoal.errors import NotFound, SettingsError
from shoal.ports import Depth
from shoal.settings import load, load_with_own_file
from shoal_cli import why
from tests.controller_daemon import daemon, wait_for
from tests.controller_fixtures import with_workers

# settings

SPARE = {"SHOAL_POLICY": "tests.controller_fixtures:spare_policy"}


def test_rules_of_the_defaults() -> None:
    rules = Rules.of(replace(load({}), emulated=True))
    assert rules == Rules(deadline.policy, Terms(Limits(0, 15, 10.0, 10.0, 0.05)), Patience(300.0, 90.0, 300.0))
    assert Rules.of(load({})).patience.stuck == 120.0  # AWS' counts are a minute late


def test_every_setting_arrives() -> None:
    rules = Rules.of(
        load(
            {
                "SHOAL_POLICY": "schedule",
                "SHOAL_TARGET_SECONDS": "30",
                "SHOAL_QOS": "7",
                "SHOAL_SCALE_FACTOR": "0.5",
                "SHOAL_STEPS": "1:2 9:4",
                "SHOAL_SCHEDULE": "Mon 08:00-18:00 3",
                "SHOAL_TIME_ZONE": "Europe/Berlin",
                "SHOAL_WINDOW_SECONDS": "11",
                "SHOAL_TOLERANCE": "0.1",
                "SHOAL_BOOT_SECONDS": "12",
                "SHOAL_SILENT_SECONDS": "13",
                "SHOAL_DRAIN_SECONDS": "14",
                "SHOAL_BUDGET_AMOUNT": "5",
                "SHOAL_BUDGET_PERIOD": "day",
            }
        )
    )
    assert (rules.terms.target_seconds, rules.terms.qos, rules.terms.scale_factor) == (30, 7, 0.5)
    assert rules.terms.steps == ((1, 2), (9, 4))
    assert (rules.terms.calendar.zone, rules.terms.calendar.spans[0].least) == ("Europe/Berlin", 3)
    assert (rules.terms.limits.window_seconds, rules.terms.limits.tolerance) == (11, 0.1)
    assert rules.patience == Patience(12, 13, 14, stuck=120.0)
    assert rules.budget == Budget(5, "day", 0.0416)


@pytest.mark.parametrize(("options", "spare"), [("", 1), ("spare=4", 4)])
def test_a_policy_has_options_of_its_own(options: str, spare: int) -> None:
    rules = Rules.of(load({**SPARE, "SHOAL_POLICY_OPTIONS": options}))

    assert rules.policy(with_workers(0, Depth(10, 0, 0)), rules.terms).desired == 10 + spare


def test_a_budget_reckons_with_the_dearest_type() -> None:
    settings = {"SHOAL_BUDGET_AMOUNT": "5", "SHOAL_INSTANCE_TYPE": "t3.medium,m5.large"}
    assert Rules.of(load(settings)).budget == Budget(5, "month", 0.096)
    assert Rules.of(load({**settings, "SHOAL_PRICE_PER_HOUR": "2"})).budget == Budget(5, "month", 2.0)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"SHOAL_POLICY": "nonesuch"}, "deadline, per_message"),
        ({"SHOAL_POLICY": "json:loads"}, "SHOAL_POLICY='json:loads' breaks: TypeError: loads"),
        ({"SHOAL_POLICY": "operator:eq"}, "SHOAL_POLICY='operator:eq' returns bool, not a Decision"),
        ({"SHOAL_POLICY_OPTIONS": "spare=2"}, "SHOAL_POLICY_OPTIONS='spare=2': .* this policy are: none"),
        ({**SPARE, "SHOAL_POLICY_OPTIONS": "spear=2"}, "expected name=value; the options of this policy are: spare"),
        ({**SPARE, "SHOAL_POLICY_OPTIONS": "spare"}, "expected name=value"),
        ({**SPARE, "SHOAL_POLICY_OPTIONS": "spare=many"}, "SHOAL_POLICY_OPTIONS='spare=many': spare is of type int"),
        ({"SHOAL_STEPS": "1-2"}, "SHOAL_STEPS='1-2': expected steps"),
        ({"SHOAL_SCHEDULE": "Mon 8-9 1"}, "SHOAL_SCHEDULE='Mon 8-9 1': 'Mon 8-9 1' is not like"),
        ({"SHOAL_TIME_ZONE": "Mars/Base"}, "no time zone 'Mars/Base'"),
        ({"SHOAL_BUDGET_AMOUNT": "1", "SHOAL_BUDGET_PERIOD": "year"}, "SHOAL_BUDGET_PERIOD='year'"),
        ({"SHOAL_BUDGET_AMOUNT": "1", "SHOAL_INSTANCE_TYPE": "x9.huge"}, "SHOAL_PRICE_PER_HOUR"),
    ],
)
def test_wrong_rules_name_the_variable(settings: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        Rules.of(load(settings))


def test_the_settings_file_wins_and_knows_no_other_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("SHOAL_MAX_INSTANCES", "9")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert load_with_own_file().max_instances == 9
    (tmp_path / "settings.env").write_text("# mine\nSHOAL_MAX_INSTANCES=5\nSHOAL_STEPS='1:1 2:2'\n")
    chosen = load_with_own_file()
    assert (chosen.max_instances, chosen.steps) == (5, "1:1 2:2")
    other = tmp_path / "other.env"
    other.write_text("SHOAL_MAX_INSTANCES=6\n")
    monkeypatch.setenv("SHOAL_ENV_FILE", str(other))
    assert load_with_own_file().max_instances == 6
    other.write_text("SHOAL_MAX_INSTANCE=6\n")
    with pytest.raises(SettingsError, match=r"SHOAL_MAX_INSTANCE in .* is not a setting"):
        load_with_own_file()


# shoal why


def entry(at: float, sentence: str, **more: Any) -> dict[str, Any]:
    plain = {"visible": 1, "in_flight": 2, "delayed": 3, "machines": 4, "desired": 5, "done": [], "refused": []}
    return {"at": at, "sentence": sentence, "dry_run": False, **plain, **more}


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOAL_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    now = time.time()
    old = [entry(now - 7200, "two hours ago"), entry(now - 3600, "an hour ago")]
    acts = [{"act": "launch", "names": ["a", "b"]}, {"act": "terminate", "ids": ["i-1"], "why": "stopped"}]
    new = [entry(now - 60, "a minute ago", done=acts), entry(now - 5, "now", refused=[{"count": 3, "why": "cap"}])]
    path = tmp_path / "ledger.jsonl"
    path.with_name("ledger.jsonl.1").write_text("".join(json.dumps(one) + "\n" for one in old))
    path.write_text("".join(json.dumps(one) + "\n" for one in new))
    return path


def asked(*arguments: str) -> str:
    done = CliRunner().invoke(why.command, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_why_tells_the_last_minutes_and_what_held_before(ledger: Path) -> None:
    def told(last: str) -> list[str]:
        total, *lines = asked("--last", last).splitlines()
        assert total.startswith("In the last ")
        return [line.split("  ", 1)[1] for line in lines]

    assert told("10m") == ["an hour ago", "a minute ago", "now"]
    assert told("30s") == ["a minute ago", "now"]
    assert len(told("1d")) == 4
    assert told("0s")[0].endswith("now")
    first = json.loads(asked("--last", "1.5h", "--json").splitlines()[0])
    assert first["sentence"] == "two hours ago"


def test_why_on_a_terminal_is_a_table(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "110")
    told = asked()
    for words in ("What the controller decided", "backlog", "launch 2", "terminate 1", "refused 3", "a minute ago"):
        assert words in told
    assert max(len(line) for line in told.splitlines()) < 300


def test_why_without_a_ledger_and_with_a_wrong_time_says_what_to_do(ledger: Path) -> None:
    assert "is not like 90s, 10m, 2h or 1d" in CliRunner().invoke(why.command, ["--last", "ten"]).output
    ledger.unlink()
    ledger.with_name("ledger.jsonl.1").unlink()
    with pytest.raises(NotFound, match="no controller has run here"):
        asked()


# the daemon


@pytest.mark.usefixtures("embedded_cloud")
def test_a_reload_takes_over_good_settings_and_refuses_bad_ones(
    tmp_path: Path, cloud_environment: dict[str, str]
) -> None:
    aws.prepare(load({"SHOAL_PREFIX": "rules"}))
    with daemon(tmp_path, cloud_environment) as running:
        wait_for(
            lambda: running.told(
                "watching rules-req-queue: policy deadline, 0 to 15 instances; nothing on this machine; "
                "would cost $0.0416 an hour"
            ),
            "no start",
        )
        wait_for(lambda: running.entries, "no tick")
        running.reload("SHOAL_MAX_INSTANCES=many\n")
        wait_for(lambda: running.told("refused, the old ones stay: SHOAL_MAX_INSTANCES='many'"), "no refusal")
        running.reload("SHOAL_POLICY=step\nSHOAL_STEPS=9:1\nSHOAL_MAX_INSTANCES=3\nSHOAL_PREFIX=other\n")
        wait_for(lambda: running.told("refused, the old ones stay: SHOAL_PREFIX needs a restart"), "no second refusal")
        running.reload("SHOAL_POLICY=step\nSHOAL_STEPS=9:1\nSHOAL_MAX_INSTANCES=3\n")
        wait_for(lambda: running.told("settings read again: policy step, 0 to 3 instances"), "no reload")
    assert running.process.returncode == 0


@pytest.mark.usefixtures("embedded_cloud")
def test_a_dry_run_looks_on_beside_the_controller(tmp_path: Path, cloud_environment: dict[str, str]) -> None:
    aws.prepare(load({"SHOAL_PREFIX": "rules"}))
    with (
        daemon(tmp_path, cloud_environment, MIN_INSTANCES=0) as acting,
        daemon(tmp_path, cloud_environment, "--dry-run", MIN_INSTANCES=2) as looking,
    ):
        wait_for(lambda: acting.told("acting with token"), "the controller does not act")
        wait_for(lambda: looking.told("would have launched 2"), "the dry run decides nothing")
        wait_for(lambda: {one.dry_run for one in looking.entries} == {True, False}, "no entries of both")
        assert not looking.told("acting with token")
    assert acting.process.returncode == looking.process.returncode == 0
