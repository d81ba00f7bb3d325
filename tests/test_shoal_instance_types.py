"""What a model does on instance types: what is measured, what is reckoned from that, and what is not known."""

from __future__ import annotations

import dataclasses
import re

import pytest
from click.testing import CliRunner

from shoal.deployment.instance_types import (
    AMX,
    ARM,
    AVX2,
    FAMILIES,
    NOT_MEASURED,
    REFERENCE,
    VNNI,
    ZEN4,
    MeasuredRates,
    TypeOffer,
    kind_of,
    offer,
    offers,
)
from shoal.prices import listed
from shoal_cli.__main__ import shoal

HERE = MeasuredRates({"float32": 30.0, "int8": 100.0}, ZEN4, cores=2)


def known(name: str, measured: MeasuredRates = HERE) -> TypeOffer:
    found = offer(name, measured)
    assert found
    return found


def test_the_same_kind_of_cpu_has_what_was_measured_for_each_core() -> None:
    large, larger = known("c7a.large"), known("c7a.xlarge")
    assert (large.images_per_second, large.arithmetic, large.is_measured) == (100.0, "int8", True)
    assert larger.images_per_second == 200.0
    assert large.per_thousand == pytest.approx(listed()["c7a.large"].per_hour / 3600 / 100 * 1000)


def test_another_kind_is_reckoned_by_what_resnet50_does_on_both() -> None:
    found = known("c6i.large")
    # Two hyperthreads are one core.
    assert found.images_per_second == pytest.approx(100 / 2 * REFERENCE[VNNI]["int8"] / REFERENCE[ZEN4]["int8"])
    assert not found.is_measured


def test_without_vnni_it_is_reckoned_in_float32() -> None:
    assert known("c6a.large").arithmetic == "float32"


def test_arm64_is_unknown_unless_measured_there() -> None:
    assert known("c7g.large").images_per_second is None
    there = dataclasses.replace(HERE, kind=ARM)
    assert known("c7g.large", there).images_per_second == 100.0
    assert known("c7a.large", there).images_per_second is None


def test_what_was_not_measured_here_is_called_reckoned() -> None:
    assert not known("c7a.large", NOT_MEASURED).is_measured


def test_a_burstable_type_that_is_always_busy_costs_more_than_its_price() -> None:
    assert known("t3.large").price == pytest.approx(listed()["t3.large"].per_hour + 0.05 * 2 * 0.7)


def test_types_without_price_cpu_or_memory_have_no_offer() -> None:
    assert [offer(name, HERE) for name in ("c9.large", "t3.nano", "c7a", "")] == [None] * 4
    assert {name.partition(".")[0] for name in listed()} == set(FAMILIES)


def test_the_cheapest_is_first_and_the_unknown_last() -> None:
    costs = [one.per_thousand for one in offers(HERE)]
    have = [one for one in costs if one is not None]
    assert [round(one, 9) for one in have] == sorted(round(one, 9) for one in have)
    assert costs[: len(have)] == have


@pytest.mark.parametrize(
    ("cpu", "kind"),
    [
        ("AMD EPYC: avx avx2 avx512_bf16 avx512_vnni", ZEN4),
        ("Intel Xeon: avx2 avx512_vnni", VNNI),
        ("Intel Xeon: amx_int8 avx2 avx512_vnni", AMX),
        ("AMD EPYC: avx avx2 fma", AVX2),
        ("Neoverse: asimd bf16 i8mm sve", ARM),
    ],
)
def test_the_kind_of_a_cpu(cpu: str, kind: str) -> None:
    assert kind_of(cpu) == kind


def test_the_commands_say_what_is_measured_and_what_is_reckoned() -> None:
    def said(*words: str) -> str:
        return CliRunner().invoke(shoal, list(words), env={"SHOAL_CACHE_DIR": "/nowhere"}).output

    told = said("instance-types")
    assert told.splitlines()[1].startswith("c7a.large")
    assert "resnet50 was not measured here" in told
    assert "unverified" in told
    assert "on spot, if 40% of that" in told
    assert "Spot is no price of AWS': 40% of on demand, assumed in 2025." in told
    [(cheapest, needed)] = re.findall(r"As cheap as (\S+) with so many images/s: .*c7g.large (\d+)", told)
    assert cheapest == "c7a.large"
    best = known("c7a.large", NOT_MEASURED)
    assert listed()["c7g.large"].per_hour / 3.6 / int(needed) == pytest.approx(best.per_thousand, rel=0.02)
    assert "c7g.large      Graviton3              arm64              2  not measured" in said(
        "instance-types", "c7g.large"
    )
    told = said("cost")
    assert "images/s on t3.medium: reckoned from another kind of CPU. The cheapest is c7a.large" in told
    assert "(5 images/s as you say" in said("cost", "--images-per-second", "5")
