"""What a model does on instance types, and what 1,000 images cost there. Pure, but for the list of prices.

Measured is what `shoal models prepare` measured on this machine, and what docs/models.md has of three kinds of CPU: the
engine alone. All else is reckoned from that, core by core: a hyperthread counts as half a core, and AMX as VNNI (it is
faster).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from shoal import prices

AVX2, VNNI, AMX, ZEN4, ARM = "AVX2", "VNNI", "VNNI bf16 AMX", "VNNI bf16", "arm64"
# ResNet50 on OpenVINO, images/s on two cores, as measured (docs/models.md). int8 needs VNNI to agree with float32.
REFERENCE: Mapping[str, Mapping[str, float]] = {
    AVX2: {"float32": 18.0},
    VNNI: {"float32": 39.5, "int8": 70.0},
    AMX: {"float32": 39.5, "int8": 70.0},  # of a Xeon without AMX
    ZEN4: {"float32": 31.7, "bfloat16": 61.6, "int8": 104.0},
    ARM: {},
}
REFERENCE_CORES = 2
# Of on demand: an assumption. Spot prices change by the hour and the zone, and no list of them was at hand.
SPOT_SHARE = 0.4
SPOT_NOTED = "2025"
VCPUS = {"small": 2, "medium": 2, "large": 2, "xlarge": 4, "2xlarge": 8}  # smaller ones have too little memory
# Burstable types pay for each vCPU-hour above their baseline: US dollars, noted 2025, unverified.
BURST_DOLLARS = {"t3": 0.05, "t3a": 0.05, "t4g": 0.04}
BASELINE = {"small": 0.2, "medium": 0.2, "large": 0.3, "xlarge": 0.4, "2xlarge": 0.4}


@dataclass(frozen=True, slots=True)
class Family:
    """Instance types with one kind of CPU; of several, the slowest.  cores: of a vCPU, half a one with hyperthreads."""

    cpu: str
    kind: str
    cores: float


FAMILIES = {
    "t3": Family("Xeon Skylake or later", AVX2, 0.5),
    "t3a": Family("EPYC Naples", AVX2, 0.5),
    "t4g": Family("Graviton2", ARM, 1),
    "m5": Family("Xeon Skylake or later", AVX2, 0.5),
    "m5a": Family("EPYC Naples", AVX2, 0.5),
    "m6i": Family("Xeon Ice Lake", VNNI, 0.5),
    "m6a": Family("EPYC Milan", AVX2, 0.5),
    "m6g": Family("Graviton2", ARM, 1),
    "m7i": Family("Xeon Sapphire Rapids", AMX, 0.5),
    "m7a": Family("EPYC Genoa", ZEN4, 1),
    "m7g": Family("Graviton3", ARM, 1),
    "c5": Family("Xeon Skylake or later", AVX2, 0.5),
    "c5a": Family("EPYC Rome", AVX2, 0.5),
    "c6i": Family("Xeon Ice Lake", VNNI, 0.5),
    "c6a": Family("EPYC Milan", AVX2, 0.5),
    "c6g": Family("Graviton2", ARM, 1),
    "c7i": Family("Xeon Sapphire Rapids", AMX, 0.5),
    "c7a": Family("EPYC Genoa", ZEN4, 1),
    "c7g": Family("Graviton3", ARM, 1),
}


@dataclass(frozen=True, slots=True)
class MeasuredRates:
    """What a model did on one machine: arithmetic -> images/s, for those that it may compute in.

    kind: of the CPU, a key of REFERENCE.  is_of_this_model: False for ResNet50's rates in place of unmeasured ones.
    """

    rates: Mapping[str, float]
    kind: str
    cores: int
    is_of_this_model: bool = True


NOT_MEASURED = MeasuredRates(REFERENCE[ZEN4], ZEN4, REFERENCE_CORES, is_of_this_model=False)


@dataclass(frozen=True, slots=True)
class TypeOffer:
    """An instance type. images_per_second: of one busy worker, in `arithmetic`; None where nobody measured such a CPU.

    is_measured: on this kind of CPU, and not reckoned from another.  price: US dollars an hour, on demand.
    """

    type: str
    family: Family
    vcpus: int
    price: float
    images_per_second: float | None
    arithmetic: str
    is_measured: bool

    @property
    def per_thousand(self) -> float | None:
        """US dollars for 1,000 images on demand."""
        rate = self.images_per_second
        return None if rate is None else self.price / 3600 / rate * 1000

    def rate_for(self, per_thousand: float) -> float:
        """The images/s from which on 1,000 images cost no more than so many US dollars, on demand."""
        return self.price / 3600 / per_thousand * 1000

    @property
    def per_thousand_spot(self) -> float | None:
        """The same on spot, by the assumed share."""
        return None if self.per_thousand is None else self.per_thousand * SPOT_SHARE


def kind_of(cpu: str) -> str:
    """The key of REFERENCE for a kind of CPU: its name and instructions, as inference.measured writes them."""
    name, _, text = cpu.partition(":")
    flags = set(text.split())
    if any(flag.startswith("amx") for flag in flags):
        return AMX
    if "asimd" in flags:
        return ARM
    if "avx512_vnni" in flags:
        return ZEN4 if "AMD" in name else VNNI
    return AVX2


def offers(measured: MeasuredRates, types: Collection[str] = ()) -> list[TypeOffer]:
    """The types with a price, the cheapest for an image first, those of unknown speed last. types: only these."""
    found = [one for name in prices.listed() if not types or name in types for one in [offer(name, measured)] if one]

    def order(one: TypeOffer) -> tuple[bool, float, float, str]:
        # Larger types of a family most often cost the same an image: the smaller one first.
        return one.per_thousand is None, round(one.per_thousand or 0.0, 9), one.price, one.type

    return sorted(found, key=order)


def best_of_each_family(found: Collection[TypeOffer]) -> list[TypeOffer]:
    """The first of each family, in the same order."""
    first: dict[str, TypeOffer] = {}
    for one in found:
        first.setdefault(one.type.partition(".")[0], one)
    return list(first.values())


def offer(name: str, measured: MeasuredRates) -> TypeOffer | None:
    """What is known of a type; None for one that is too small, or in no list."""
    prefix, _, size = name.partition(".")
    family, vcpus, listed = FAMILIES.get(prefix), VCPUS.get(size), prices.listed().get(name)
    if family is None or vcpus is None or listed is None:
        return None
    rates = _rates(family.kind, measured)
    best = max(rates, key=lambda arithmetic: rates[arithmetic], default="")
    rate = rates[best] * vcpus * family.cores if best else None
    price = listed.per_hour + BURST_DOLLARS.get(prefix, 0.0) * vcpus * (1 - BASELINE.get(size, 0.0))
    is_measured = measured.is_of_this_model and family.kind == measured.kind
    return TypeOffer(name, family, vcpus, price, rate, best, is_measured)


def _rates(kind: str, measured: MeasuredRates) -> dict[str, float]:
    """Images/s of one core of a kind of CPU in each arithmetic."""
    there, here = REFERENCE[kind], REFERENCE[measured.kind]
    if kind == measured.kind:
        return {one: rate / measured.cores for one, rate in measured.rates.items()}
    return {
        one: rate / measured.cores * there[one] / here[one]
        for one, rate in measured.rates.items()
        if one in there and one in here
    }
