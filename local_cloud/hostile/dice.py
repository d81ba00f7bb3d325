"""Draws from a seed whether a fault happens, and how bad it is. Pure.

Every kind draws from a generator of its own, and every draw takes two numbers from it, hit or not. So the n-th draw of
a kind is the same in every run with the same seed, whatever other kinds do.
"""

import random
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from local_cloud.hostile.kinds import KINDS

SCALE = 0.05


@dataclass(frozen=True)
class Hostility:
    """The chosen faults.

    only:  the chosen kinds; empty means all.
    rate:  a factor on every kind's rate.
    scale: a factor on the durations that kinds.py gives in minutes, and on the 90 s of a slow boot.
    """

    seed: int
    only: tuple[str, ...] = ()
    rate: float = 1.0
    scale: float = SCALE

    def __post_init__(self) -> None:
        """Raises ValueError for an unknown kind."""
        if unknown := [name for name in self.only if name not in KINDS]:
            raise ValueError(f"there is no fault named {unknown[0]}: choose among {', '.join(KINDS)}")

    def rate_of(self, kind: str) -> float:
        """How often this kind happens, from 0 to 1."""
        chosen = not self.only or kind in self.only
        return min(1.0, KINDS[kind].rate * self.rate) if chosen else 0.0

    def chance_of(self, kind: str) -> float:
        """The chance of a hit when the call before had none. Less than the rate for kinds whose hits last."""
        rate, length = self.rate_of(kind), (1 + KINDS[kind].most) / 2
        return rate / (length - rate * (length - 1))

    def to_dict(self) -> dict[str, Any]:
        """As JSON types, for another process."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Hostility":
        """From the result of `to_dict`."""
        return cls(values["seed"], tuple(values["only"]), values["rate"], values["scale"])


@dataclass
class _Die:
    source: random.Random
    lock: threading.Lock = field(default_factory=threading.Lock)
    still_failing: int = 0
    magnitude: float = 0.0


class Dice:
    """The generators of all kinds. Safe for many threads."""

    def __init__(self, hostility: Hostility) -> None:
        self.hostility = hostility
        self._dice = {name: _Die(random.Random(f"{hostility.seed} {name}")) for name in KINDS}

    def roll(self, kind: str) -> float | None:
        """None for no fault; else how bad it is, from 0 to 1."""
        die = self._dice[kind]
        with die.lock:
            chance, magnitude = die.source.random(), die.source.random()
            if die.still_failing:
                die.still_failing -= 1
                return die.magnitude
            if chance >= self.hostility.chance_of(kind):
                return None
            die.still_failing, die.magnitude = int(magnitude * KINDS[kind].most), magnitude
            return magnitude

    def seconds(self, magnitude: float, least: float, most: float) -> float:
        """A duration from `least` to `most`, scaled."""
        return (least + magnitude * (most - least)) * self.hostility.scale
