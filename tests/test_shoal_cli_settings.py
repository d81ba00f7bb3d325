"""`shoal settings`, and docs/settings.md, which it makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from shoal.errors import SettingsError
from shoal.settings import GROUPS, SETTINGS
from shoal_cli import settings

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
