"""`shoal set`: what a running controller goes by is changed, and told."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from shoal import aws
from shoal.errors import SettingsError, ShoalError
from shoal.settings import in_force, load
from shoal_cli.__main__ import shoal
from tests.controller_daemon import daemon, wait_for


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOAL_STATE_DIR", str(tmp_path))
    return tmp_path


def asked(*words: str) -> str:
    return CliRunner().invoke(shoal, ["set", *words], catch_exceptions=False).output


def refused(*words: str) -> str:
    with pytest.raises(SettingsError) as raised:
        asked(*words)
    return str(raised.value)


def test_without_a_controller_it_is_kept_for_the_next_start(state: Path) -> None:
    (state / "settings.env").write_text("# ours\nSHOAL_QOS=7\nSHOAL_MAX_INSTANCES=9\n")
    told = asked("shoal_max_instances=2")

    kept = f"SHOAL_MAX_INSTANCES=2 is in {state}/settings.env"
    assert told == f"{kept}; no controller runs there, it holds from the next start on\n"
    assert (state / "settings.env").read_text() == "# ours\nSHOAL_QOS=7\nSHOAL_MAX_INSTANCES=2\n"
    assert "is no longer in" in asked("SHOAL_QOS=")
    assert "SHOAL_QOS is not in" in asked("SHOAL_QOS=")
    assert (state / "settings.env").read_text() == "# ours\nSHOAL_MAX_INSTANCES=2\n"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("SHOAL_MAX_INSTANCE=2", "SHOAL_MAX_INSTANCE is not a setting: did you mean SHOAL_MAX_INSTANCES?"),
        ("SHOAL_MAX_INSTANCES=many", "SHOAL_MAX_INSTANCES='many': expected a whole number"),
        ("SHOAL_MIN_INSTANCES=20", "SHOAL_MIN_INSTANCES=20 is more than SHOAL_MAX_INSTANCES=15"),
        ("SHOAL_PORT=9000", "SHOAL_PORT needs a restart"),
        ("SHOAL_POLICY=foo", "'foo' is not one of the policies"),
        ("SHOAL_MAX_INSTANCES", "expected NAME=VALUE"),
        ("SHOAL_QOS=5\nSHOAL_PORT=9", "SHOAL_QOS: expected one line"),
        ("SHOAL_TIME_ZONE=UTC\u2028SHOAL_POLICY=os:system", "SHOAL_TIME_ZONE: expected one line"),
        ("SHOAL_TIME_ZONE=UTC\x1cSHOAL_POLICY=os:system", "SHOAL_TIME_ZONE: expected one line"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(state: Path, words: str, why: str) -> None:
    assert why in refused("SHOAL_QOS=6", words)
    assert not (state / "settings.env").exists()


def test_a_model_that_is_not_prepared_is_refused_where_workers_have_the_same_cache(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for words in ("SHOAL_MODELS=nope", "SHOAL_MODEL=nope", "SHOAL_MODELS=ssd_mobilenet_v2, nope"):
        with pytest.raises(ShoalError, match="nope is none of"):
            asked(words)
    assert not (state / "settings.env").exists()


@pytest.mark.usefixtures("embedded_cloud")
def test_a_running_controller_takes_it_at_once_or_the_file_stays_as_it_was(
    state: Path, cloud_environment: dict[str, str]
) -> None:
    aws.prepare(load({"SHOAL_PREFIX": "rules"}))
    with daemon(state, cloud_environment) as running:
        wait_for(lambda: running.told("watching"), "no start")
        assert asked("SHOAL_MAX_INSTANCES=2", "SHOAL_ANSWER_CACHE=7").splitlines() == [
            "SHOAL_MAX_INSTANCES=2 holds now",
            "SHOAL_ANSWER_CACHE=7 holds for instances that are launched from now on; running ones keep theirs",
        ]
        assert running.told("0 to 2 instances")
        kept = (state / "settings.env").read_text()

        assert "SHOAL_STEPS" in refused("SHOAL_STEPS=nonsense")  # only the controller knows how to read it
        assert (state / "settings.env").read_text() == kept
        assert asked("SHOAL_MAX_INSTANCES=3") == "SHOAL_MAX_INSTANCES=3 holds now\n"
        told = asked("SHOAL_BUDGET_AMOUNT=0.000001", "SHOAL_QOS=6").splitlines()
        stops = "no machine may start: budget $0.000001 a month: one more machine to the end of the month UTC is "
        assert told[0].startswith(f"SHOAL_BUDGET_AMOUNT=1e-06 holds now; {stops}")
        assert told[1] == "SHOAL_QOS=6 holds now"
        assert asked("SHOAL_BUDGET_AMOUNT=50") == "SHOAL_BUDGET_AMOUNT=50 holds now\n"
        found = in_force.read(state)
        assert found is not None
        assert (found.pid, found.values["SHOAL_MAX_INSTANCES"]) == (running.process.pid, "3")
        (state / "settings.env").write_text("SHOAL_MAX_INSTANCES=9\n")  # not read yet
        shown = CliRunner().invoke(shoal, ["settings"], catch_exceptions=False).output
        assert "SHOAL_MAX_INSTANCES=9" in shown
        assert "The controller that runs goes by 3." in shown
    assert in_force.read(state) is None
