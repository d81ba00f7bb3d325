"""Reads the settings from the environment and from files. Nothing here changes the environment."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from shoal.errors import SettingsError
from shoal.proxies import is_direct
from shoal.settings.checks import check
from shoal.settings.declaration import user_path, variable
from shoal.settings.declared import SETTINGS, Settings

PREFIX = "SHOAL_"
KNOWN = [one.variable for one in SETTINGS]
# Named alike, for the scripts of the machine image.
NO_SETTINGS = ["SHOAL_PYTHON"]


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check the settings in the environment. An empty variable counts as unset.

    Raises SettingsError, which names the variable, its value and what it should be.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {"cache_dir": _default_cache(environment)}
    for one in SETTINGS:
        if name := _variable_set(one.variable, one.also, environment):
            values[one.name] = one.parse(environment[name])
    settings = Settings(**values)
    check(settings)
    return settings


def load_with_env_file(environment: Mapping[str, str] | None = None) -> Settings:
    """`load`, and in `cloud` the variables of the embedded cloud that runs in the state folder.

    Its file `env` exists while it runs. So a program that is started by hand next to it (`python controller.py`, the
    CLI) uses the same cloud. Variables in the environment win; with AWS_ENDPOINT_URL set, the file is not read.
    """
    environment = os.environ if environment is None else environment
    return _with_cloud(load(environment), environment)


def load_with_own_file(environment: Mapping[str, str] | None = None) -> Settings:
    """`load_with_env_file`, with the values in `own_file` over those in the environment.

    The environment of a running process cannot be changed, but a file can: the controller reads it again on SIGHUP.
    Raises SettingsError, also for a name in the file that is not a setting.
    """
    environment = os.environ if environment is None else environment
    return _with_cloud(load({**environment, **_own_values(environment)}), environment)


def load_changed(values: Mapping[str, str], environment: Mapping[str, str] | None = None) -> Settings:
    """`load_with_own_file`, as if the file held `values` too (variable -> text; empty for no line).

    Raises SettingsError.
    """
    environment = os.environ if environment is None else environment
    changed = {name: value for name, value in {**_own_values(environment), **values}.items() if value.strip()}
    return _with_cloud(load({**environment, **changed}), environment)


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment, with the state folder of these settings."""
    return {**os.environ, variable("state_dir"): str(settings.state_dir)}


def sources(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Where `load_with_own_file` takes the settings from: name -> file or variable; defaults are left out."""
    environment = os.environ if environment is None else environment
    own, path = _own_values(environment), str(own_file(environment))
    found = {}
    for one in SETTINGS:
        if name := _variable_set(one.variable, one.also, {**environment, **own}):
            found[one.name] = path if name in own else "environment" if name == one.variable else name
    if environment.get("XDG_CACHE_HOME"):
        found.setdefault("cache_dir", "XDG_CACHE_HOME")
    return found


def misspelt(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables that are named as settings and are none, with a sentence for each: most likely one was meant."""
    environment = os.environ if environment is None else environment
    found = {}
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in (*KNOWN, *NO_SETTINGS):
            hint = meant(name) or "`shoal settings` lists all of them"
            found[name] = f"{name} is not a setting and changes nothing: {hint}"
    return found


def meant(name: str) -> str:
    """A question that names the setting most like `name`; empty when none is."""
    close = difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.8)
    return f"did you mean {close[0]}?" if close else ""


def own_file(environment: Mapping[str, str] | None = None) -> Path:
    """The file with the controller's own settings: SHOAL_ENV_FILE, or `settings.env` in the state folder."""
    environment = os.environ if environment is None else environment
    name = variable("env_file")
    chosen = environment.get(name, "").strip()
    return _path(name, chosen) if chosen else _state_dir(environment) / "settings.env"


def read_env_file(path: Path) -> dict[str, str]:
    """Read the lines `KEY=value` of a file; empty when there is no such file."""
    pairs = (line.partition("=") for line in _lines(path) if "=" in line)
    return {key.strip(): value.strip().strip("'\"") for key, _, value in pairs}


def _lines(path: Path) -> list[str]:
    """The lines of a file that say something; none when there is no such file."""
    try:
        lines = map(str.strip, path.read_text().splitlines())
    except FileNotFoundError:
        return []
    return [line for line in lines if line and not line.startswith("#")]


def take_up(path: Path) -> None:
    """Add the variables of a file to the environment of this process, as a shell would read them.

    For a worker that was started before the file with its settings was there: boto3 reads its own from the environment.
    """
    for word in shlex.split(path.read_text(), comments=True) if path.exists() else ():
        name, equals, value = word.partition("=")
        if equals:
            os.environ[name] = value


def _variable_set(own: str, also: str, environment: Mapping[str, str]) -> str:
    return next((name for name in (own, also) if environment.get(name, "").strip()), "")


def _own_values(environment: Mapping[str, str]) -> dict[str, str]:
    path = own_file(environment)
    for line in _lines(path):
        if "=" not in line:
            raise SettingsError(f"{line!r} in {path}: expected NAME=value, for example SHOAL_MAX_INSTANCES=2")
    own = read_env_file(path)
    for name in own:
        if name not in KNOWN:
            raise SettingsError(": ".join(filter(None, (f"{name} in {path} is not a setting", meant(name)))))
    return own


def _with_cloud(settings: Settings, environment: Mapping[str, str]) -> Settings:
    found = {} if "AWS_ENDPOINT_URL" in environment else read_env_file(_state_dir(environment) / "env")
    names = {**found, **environment}
    endpoint = names.get("AWS_ENDPOINT_URL_EC2") or names.get("AWS_ENDPOINT_URL") or ""
    cloud = {name: value for name, value in found.items() if name not in environment}
    return replace(settings, cloud=cloud, emulated=is_direct(endpoint))


def _state_dir(environment: Mapping[str, str]) -> Path:
    name = variable("state_dir")
    return _path(name, environment.get(name, "").strip() or ".shoal")


def _default_cache(environment: Mapping[str, str]) -> Path:
    return _path("XDG_CACHE_HOME", environment.get("XDG_CACHE_HOME") or "~/.cache") / "shoal"


def user_state_dir(environment: Mapping[str, str] | None = None) -> Path:
    """The folder for what a user's commands keep, whatever folder he stands in. Raises SettingsError."""
    environment = os.environ if environment is None else environment
    return _path("XDG_STATE_HOME", environment.get("XDG_STATE_HOME") or "~/.local/state") / "shoal"


def _path(name: str, text: str) -> Path:
    try:
        return user_path(text)
    except ValueError as error:
        raise SettingsError(f"{name}={text!r} is not a path: {error}") from error
