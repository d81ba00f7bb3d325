"""How a setting is declared: once, with everything that the programs and the documents say about it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoal.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Setting:
    """The declaration of one setting.

    name:    the field of `Settings`.
    type:    "int", "float", "str", "Path" or "Path | None".
    group:   the part of the system that it belongs to.
    help:    one sentence for the user.
    least, most: the range of a number, both ends included; None for no bound.
    choices: the only values that are allowed; empty for any.
    reload:  the controller takes a new value when it gets SIGHUP; otherwise a new value needs a restart.
    worker:  workers are given the value when they are launched.
    secret:  the value is never shown.
    also:    another variable, which is read when our own is not set.
    """

    name: str
    type: str
    default: Any
    group: str
    help: str
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    reload: bool = False
    worker: bool = False
    secret: bool = False
    also: str = ""

    @property
    def variable(self) -> str:
        """The environment variable that the setting is read from."""
        return variable(self.name)

    def parse(self, text: str) -> Any:
        """Convert `text` to the value. Raises SettingsError, which names the variable and what it should hold."""
        parser, expected = _PARSERS[self.type]
        try:
            value = parser(text)
        except ValueError:
            raise self._error(text, expected) from None
        if self.least is not None and value < self.least:
            raise self._error(text, f"at least {self.least:g}")
        if self.most is not None and value > self.most:
            raise self._error(text, f"at most {self.most:g}")
        return self._choice(text, value) if self.choices else value

    def _choice(self, text: str, value: str) -> str:
        for choice in self.choices:
            if value.lower() == choice.lower():
                return choice
        raise self._error(text, " or ".join(self.choices))

    def _error(self, text: str, expected: str) -> SettingsError:
        shown = "" if self.secret else f"={text!r}"
        return SettingsError(f"{self.variable}{shown}: expected {expected}")


def variable(name: str) -> str:
    """The environment variable of the setting with this name."""
    return f"SHOAL_{name.upper()}"


def as_text(value: object) -> str:
    """A value as it is written in the environment; empty for None."""
    if value is None:
        return ""
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def setting(group: str, default: Any, text: str, **declaration: Any) -> Any:
    """Declare a field of `Settings`; `text` is its help, the other arguments are those of `Setting`."""
    return dataclasses.field(
        default=default,
        repr=not declaration.get("secret", False),
        metadata={"group": group, "help": text, **declaration},
    )


def declared(settings: type) -> tuple[Setting, ...]:
    """The settings that a dataclass declares, in their order."""
    return tuple(
        Setting(field.name, str(field.type), field.default, **field.metadata)
        for field in dataclasses.fields(settings)
        if field.metadata
    )


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def user_path(text: str) -> Path:
    """The path, with the home folder in place of `~` or `~user`. Raises ValueError if there is no such user."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(str(error)) from error


_PARSERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "int": (int, "a whole number"),
    "float": (_number, "a number"),
    "str": (str.strip, "text"),
    "Path": (user_path, "a path"),
    "Path | None": (user_path, "a path"),
}
