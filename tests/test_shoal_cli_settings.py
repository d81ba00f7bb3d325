"""`shoal settings`, and docs/settings.md, which it makes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from shoal.errors import SettingsError
from shoal.lifecycle import UP_LOCK, only_one
from shoal.settings import GROUPS, SETTINGS, misspelt
from shoal.state_folder import page_address
from shoal_cli import settings
from shoal_cli.__main__ import shoal

ROOT = Path(__file__).parent.parent
SECRET = "a very good password"


def asked(*arguments: str) -> str:
    done = CliRunner().invoke(settings.command, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "settings.env").write_text("SHOAL_MAX_INSTANCES=5\n")
    for name, value in {"STATE_DIR": str(tmp_path), "PORT": "9000", "OPERATOR_SECRET": SECRET}.items():
        monkeypatch.setenv(f"SHOAL_{name}", value)
    return tmp_path


def test_the_page_of_the_settings_is_what_the_declarations_say() -> None:
    made = asked("--markdown")
    assert (ROOT / "docs" / "settings.md").read_text() == made, "run `shoal settings --markdown > docs/settings.md`"
    assert str(Path.home()) not in made


def test_all_settings_are_shown_with_value_source_default_and_help(folder: Path) -> None:
    shown = asked()
    for title in GROUPS.values():
        assert f"\n{title}\n" in shown
    for one in SETTINGS:
        assert f"{one.variable}=" in shown
        assert one.help in shown
    assert "SHOAL_PORT=9000  (environment, default 8000)" in shown
    assert f"SHOAL_MAX_INSTANCES=5  ({folder}/settings.env, default 15)" in shown
    assert "SHOAL_QOS=5  (default)" in shown
    assert f"The controller's own file: {folder}/settings.env\n" in shown


def test_the_json_says_the_same_and_no_form_shows_a_secret(folder: Path) -> None:
    rows = {row["variable"]: row for row in json.loads(asked("--json"))}
    assert list(rows) == [one.variable for one in SETTINGS]
    assert (rows["SHOAL_PORT"]["value"], rows["SHOAL_PORT"]["source"]) == ("9000", "environment")
    assert (rows["SHOAL_OPERATOR_SECRET"]["value"], rows["SHOAL_WEBHOOK_SECRET"]["value"]) == ("(set)", "")
    reload = {name: rows[name]["on_reload"] for name in ("SHOAL_PREFIX", "SHOAL_MODEL", "SHOAL_MIN_INSTANCES")}
    assert list(reload.values()) == ["restart", "next launch", "reload"]
    for form in ((), ("--json",), ("--markdown",)):
        assert SECRET not in asked(*form)


def test_a_wrong_value_is_named(folder: Path) -> None:
    (folder / "settings.env").write_text("SHOAL_MAX_INSTANCES=many\n")
    with pytest.raises(SettingsError, match="SHOAL_MAX_INSTANCES='many'"):
        asked()


def test_a_misspelt_setting_is_told_with_the_one_that_was_meant() -> None:
    told = misspelt({"SHOAL_MAX_INSTANCE": "3", "SHOAL_PORT": "80", "SHOAL_PYTHON": "/bin/x", "SHOAL_COLOUR": "red"})
    assert told == {
        "SHOAL_COLOUR": "SHOAL_COLOUR is not a setting and changes nothing: `shoal settings` lists all of them",
        "SHOAL_MAX_INSTANCE": "SHOAL_MAX_INSTANCE is not a setting and changes nothing: "
        "did you mean SHOAL_MAX_INSTANCES?",
    }


def test_every_variable_of_our_scripts_is_a_setting_or_known_to_be_none() -> None:
    scripts = [path for path in (ROOT / "ami").iterdir() if path.is_file() and path.suffix != ".md"]
    used = {name: "x" for path in scripts for name in re.findall(r"\bSHOAL_[A-Z_]+\b", path.read_text())}
    assert used
    assert misspelt(used) == {}


def run_shoal(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nowhere", **variables}
    command = [sys.executable, "-m", "shoal_cli", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


def test_the_port_of_the_shoal_that_runs_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("SHOAL_PORT", raising=False)
    page_address.tell(tmp_path, "http://127.0.0.1:8931")
    runs = "    The Shoal that runs goes by 8931.\n"
    with only_one(tmp_path / UP_LOCK, ""):
        shown = asked()
        assert runs in shown.partition("SHOAL_PORT=8000")[2]
        assert "The Shoal that runs goes by 127.0.0.1" not in shown
    assert runs not in asked()


def test_the_command_warns_and_goes_on(tmp_path: Path) -> None:
    done = run_shoal("settings", SHOAL_STATE_DIR=str(tmp_path), SHOAL_MAX_INSTANCE="3")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "did you mean SHOAL_MAX_INSTANCES?" in done.stderr


def test_a_mistyped_command_is_told_what_was_meant() -> None:
    done = run_shoal("clasify")
    assert done.returncode == 2
    assert "No such command 'clasify'. Did you mean classify?" in done.stderr


def test_the_list_of_commands_has_whole_sentences() -> None:
    listed = CliRunner().invoke(shoal, ["--help"]).output.partition("Commands:")[2]
    assert "Label photos: files and folders." in listed
    assert "..." not in listed


def test_the_doctor_names_a_misspelt_setting(tmp_path: Path) -> None:
    done = run_shoal("doctor", SHOAL_STATE_DIR=str(tmp_path), SHOAL_MAX_INSTANCE="3")
    assert re.search(r"^BAD +setting: SHOAL_MAX_INSTANCE .*did you mean SHOAL_MAX_INSTANCES", done.stdout, re.MULTILINE)
    assert done.returncode == 1


@pytest.mark.parametrize("words", [["status"], ["watch", "--once"], ["dlq", "list"]])
def test_without_a_system_the_command_to_start_one_is_named(tmp_path: Path, words: list[str]) -> None:
    done = run_shoal(*words, SHOAL_STATE_DIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith(f"shoal: Shoal is not running in {tmp_path}: start it with `shoal up`")


@pytest.mark.parametrize("words", [["status"], ["settings"], ["down"], ["doctor"], ["up"], ["serve"]])
def test_a_state_folder_that_cannot_be_is_named(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "file").touch()
    done = run_shoal(*words, SHOAL_STATE_DIR=str(tmp_path / "file" / "state"))
    assert done.returncode == 1
    assert f"shoal: SHOAL_STATE_DIR={tmp_path}/file/state cannot be used (Not a directory)" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_doctor_stops_at_the_cause(tmp_path: Path) -> None:
    away = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1"}
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_EC2_METADATA_DISABLED": "true"}
    done = run_shoal("doctor", SHOAL_STATE_DIR=str(tmp_path), **away, **keys)
    assert done.returncode == 1
    assert re.findall(r"^BAD +(\w+)", done.stdout, re.MULTILINE)[-1] == "cloud"
    assert "bucket" not in done.stdout.partition("BAD  cloud")[2].partition("→")[2]
