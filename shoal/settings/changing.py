"""Changes settings of a running controller: checked, written to its own file, read again, answered with what holds."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from shoal.errors import Retryable, SettingsError, ShoalError
from shoal.lifecycle import holder
from shoal.settings import in_force
from shoal.settings.declared import SETTINGS, Settings
from shoal.settings.in_force import InForce
from shoal.settings.reading import environment_of, load_changed, meant, own_file

ANSWER_SECONDS = 10.0
OF_THE_WEB_TIER = ("SHOAL_MODEL", "SHOAL_MODELS", "SHOAL_MAX_FILE_BYTES")  # it reads them at its start
OF_THE_BUDGET = ("SHOAL_BUDGET_AMOUNT", "SHOAL_BUDGET_PERIOD", "SHOAL_PRICE_PER_HOUR")
LOOK_SECONDS = 0.05

_BY_VARIABLE = {one.variable: one for one in SETTINGS}


def change(
    values: Mapping[str, str], environment: Mapping[str, str] | None = None, check: Callable[[], None] = lambda: None
) -> list[str]:
    """Set `values` in the controller's own file, and let a running controller read it again.

    values: variable -> text; an empty text removes the line, so that the environment or the default holds again.
    check:  called when no controller runs; it raises SettingsError for what only a controller can tell.

    Returns what holds now, a sentence for each value. Raises SettingsError for what is wrong or needs a restart, and
    Retryable when the controller does not answer; then the file is as it was.
    """
    for name, value in values.items():
        _check(name, value)
    state_dir = load_changed(values, environment).state_dir
    path = own_file(environment)
    with _alone(path):
        before = path.read_text() if path.exists() else None
        _write(path, _edited(before or "", values))
        try:
            found = _reload(state_dir)
            if found is None:
                check()
        except ShoalError:
            _restore(path, before)
            raise
    removed = _named(before or "")
    return [_sentence(name, value, path, found, name in removed) for name, value in values.items()]


def change_for(settings: Settings, values: Mapping[str, str]) -> list[str]:
    """`change` for the controller in the state folder of these settings."""
    return change(values, environment_of(settings))


def _check(name: str, value: str) -> None:
    setting = _BY_VARIABLE.get(name)
    if setting is None:
        raise SettingsError(": ".join(filter(None, (f"{name} is not a setting", meant(name)))))
    if not setting.reload:
        raise SettingsError(f"{name} needs a restart: set it in the environment of what you start")
    if value.splitlines() not in ([], [value]):  # the file is read by lines: U+2028 and others end one, too
        raise SettingsError(f"{name}: expected one line")


def _named(text: str) -> frozenset[str]:
    """The variables that have a line in the file's text."""
    return frozenset(line.partition("=")[0].strip() for line in text.splitlines())


def _edited(text: str, values: Mapping[str, str]) -> str:
    """The file's text with a line for each value; the other lines stay."""
    kept = [line for line in text.splitlines() if line.partition("=")[0].strip() not in values]
    new = [f"{name}={value}" for name, value in values.items() if value.strip()]
    return "".join(f"{line}\n" for line in [*kept, *new])


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}")
    draft.write_text(text)
    draft.chmod(0o600)
    draft.replace(path)


def _restore(path: Path, before: str | None) -> None:
    if before is None:
        path.unlink()
    else:
        _write(path, before)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one process at a time change the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _reload(state_dir: Path) -> InForce | None:
    """Send SIGHUP to the controller and wait for its answer. None when no controller runs here."""
    deadline = time.monotonic() + ANSWER_SECONDS
    before = None
    # Not earlier: a controller that has not said what it goes by does not expect SIGHUP yet.
    while before is None:
        if holder(state_dir / in_force.LOCK) is None:
            return None
        before = in_force.read(state_dir)
        _pause(deadline)
    try:
        os.kill(before.pid, signal.SIGHUP)
    except OSError as error:
        raise SettingsError(f"the controller, process {before.pid}, cannot be told: {error.strerror}") from error
    while (found := in_force.read(state_dir)) is None or (found.pid, found.reads) == (before.pid, before.reads):
        if holder(state_dir / in_force.LOCK) is None:
            return None
        _pause(deadline)
    if found.refused:
        raise SettingsError(found.refused)
    return found


def _pause(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise Retryable(f"the controller has not answered for {ANSWER_SECONDS:g} s: nothing was changed")
    time.sleep(LOOK_SECONDS)


def _sentence(name: str, value: str, path: Path, found: InForce | None, was_there: bool) -> str:
    where = "no longer" if was_there else "not"
    if found is None:
        told = f"{name}={value} is in {path}" if value.strip() else f"{name} is {where} in {path}"
        return f"{told}; no controller runs there, it holds from the next start on"
    held = f"{name}={found.values.get(name, value)}" + ("" if value.strip() else f" ({where} from the file)")
    if _BY_VARIABLE[name].worker:
        told = f"{held} holds for instances that are launched from now on; running ones keep theirs"
        return told + (", and the web tier offers it once it is restarted with it" if name in OF_THE_WEB_TIER else "")
    stopped = found.no_launch if name in OF_THE_BUDGET else ""
    return f"{held} holds now" + (f"; no machine may start: {stopped}" if stopped else "")
