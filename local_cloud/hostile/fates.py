"""Draws what goes wrong with an instance, at its launch. Pure."""

from dataclasses import dataclass

from local_cloud.hostile.dice import Dice

LIFE_SECONDS = (0.0, 600.0)
PARTITION_SECONDS = (60.0, 300.0)
SLOW_BOOT_SECONDS = 90.0
NOTICE_SECONDS = 120.0
CLOCK_SECONDS = (120.0, 600.0)


@dataclass(frozen=True)
class Partition:
    """A cut network: how long after the boot it begins, and how long it lasts."""

    after_seconds: float
    for_seconds: float


@dataclass(frozen=True)
class Fate:
    """What goes wrong with one instance; None and zero stand for nothing. Times count from the end of its boot."""

    slow_boot_seconds: float = 0.0
    hangs: bool = False
    clock_offset_seconds: float = 0.0
    noticed_after_seconds: float | None = None
    notice_seconds: float = 0.0
    vanishes_after_seconds: float | None = None
    partition: Partition | None = None


def draw(dice: Dice) -> Fate:
    """The fate of the next instance. Each kind is drawn once, so the n-th instance always has the n-th fate."""
    slow, hung, clock = dice.roll("slow-boot"), dice.roll("hung-boot"), dice.roll("wrong-clock")
    noticed, vanishes, cut = dice.roll("interruption"), dice.roll("vanishing"), dice.roll("partition")
    return Fate(
        slow_boot_seconds=0.0 if slow is None else SLOW_BOOT_SECONDS * dice.hostility.scale,
        hangs=hung is not None,
        clock_offset_seconds=0.0 if clock is None else _offset(clock),
        noticed_after_seconds=None if noticed is None else dice.seconds(noticed, *LIFE_SECONDS),
        notice_seconds=NOTICE_SECONDS * dice.hostility.scale,
        vanishes_after_seconds=None if vanishes is None else dice.seconds(vanishes, *LIFE_SECONDS),
        partition=None if cut is None else _partition(dice, cut),
    )


def _offset(magnitude: float) -> float:
    """Half of the clocks are fast, half are slow. The error of a clock is not scaled."""
    least, most = CLOCK_SECONDS
    size = least + abs(2 * magnitude - 1) * (most - least)
    return size if magnitude < 0.5 else -size


def _partition(dice: Dice, magnitude: float) -> Partition:
    # One number gives both: an early cut is a long cut.
    return Partition(dice.seconds(magnitude, *LIFE_SECONDS), dice.seconds(1 - magnitude, *PARTITION_SECONDS))
