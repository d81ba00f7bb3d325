"""Keeps what was measured of a model's arithmetics, beside its artefacts in the cache.

    <cache>/models/<model>/<engine>-measured.json

`inference/preparing/choosing.py` writes it where the model is prepared, and a worker on another kind of CPU adds to it.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from inference.arithmetic import Agreement

FORMAT = 1

_CPU_INFO = Path("/proc/cpuinfo")
_INSTRUCTIONS = ("amx", "asimd", "avx", "bf16", "fma", "i8mm", "sve")  # what the speed of an arithmetic depends on


@dataclass(frozen=True, slots=True)
class Rate:
    """Images/s of an arithmetic, and the name of the CPU on which it was measured."""

    images_per_second: float
    cpu: str


@dataclass(frozen=True, slots=True)
class OnCpu:
    """The arithmetic that was chosen on a kind of CPU, and what each did there: arithmetic -> Rate."""

    chosen: str
    measured: dict[str, Rate]


@dataclass(frozen=True, slots=True)
class Measurements:
    """What was measured of a model with an engine.

    made_for:  the checksum of the weights.
    agreement: of each arithmetic that was compared with float32.
    missing:   arithmetic -> why it could not be tried where the model was prepared, for example without a network.
    on_cpu:    kind of CPU (see `kind`) -> what was chosen and measured there.
    """

    made_for: str
    agreement: dict[str, Agreement] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    on_cpu: dict[str, OnCpu] = field(default_factory=dict)

    def here(self) -> OnCpu | None:
        """What was chosen and measured on this machine's kind of CPU, or None."""
        return self.on_cpu.get(kind())

    def with_here(self, chosen: str, images_per_second: dict[str, float]) -> Measurements:
        """The same with what was chosen and measured on this machine."""
        name = cpu()
        found = OnCpu(chosen, {precision: Rate(round(rate, 1), name) for precision, rate in images_per_second.items()})
        return replace(self, on_cpu=self.on_cpu | {kind(): found})

    def write(self, home: Path, engine: str) -> None:
        """Write it into a model's folder of the cache."""
        handle, draft = tempfile.mkstemp(prefix=".measured-", dir=home)
        with os.fdopen(handle, "w") as file:
            file.write(json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n")
        Path(draft).chmod(0o644)  # mkstemp keeps it from other users, who may share the cache
        Path(draft).replace(home / _name(engine))


def read(home: Path, engine: str, made_for: str) -> Measurements | None:
    """What is kept in a model's folder for these weights, or None if this version can read nothing there."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        fields = json.loads((home / _name(engine)).read_text())
        if fields.pop("format") == FORMAT and fields["made_for"] == made_for:
            fields["agreement"] = {name: Agreement(**one) for name, one in fields["agreement"].items()}
            fields["on_cpu"] = {name: _on_cpu(one) for name, one in fields["on_cpu"].items()}
            return Measurements(**fields)
    return None


def kind() -> str:
    """The kind of this machine's CPU: its name and the instructions that the speed of an arithmetic depends on."""
    flags = set(f"{_field('flags')} {_field('Features')}".split())
    return " ".join([f"{cpu()}:", *sorted(flag for flag in flags if flag.startswith(_INSTRUCTIONS))])


def cpu() -> str:
    """The CPU's name."""
    return _field("model name") or platform.machine()


def _field(name: str) -> str:
    """A field of the first processor in /proc/cpuinfo; empty if there is none."""
    with suppress(OSError), _CPU_INFO.open() as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
            if not line.strip():
                break
    return ""


def _on_cpu(fields: dict[str, object]) -> OnCpu:
    measured = fields["measured"]
    if not isinstance(measured, dict):
        raise TypeError(f"{measured!r} is not what was measured")
    if fields["chosen"] not in measured:
        raise KeyError(fields["chosen"])
    return OnCpu(
        str(fields["chosen"]),
        {name: Rate(float(one["images_per_second"]), str(one["cpu"])) for name, one in measured.items()},
    )


def _name(engine: str) -> str:
    return f"{engine}-measured.json"
