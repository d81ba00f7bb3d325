"""Which arithmetic a model computes in: the fastest that agrees with float32, as measured on this kind of CPU."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import measured, store
from inference.arithmetic import (
    BFLOAT16,
    FLOAT32,
    INT8,
    LEAST_AGREEMENT,
    LEAST_GAIN,
    LEAST_PHOTOS,
    Agreement,
    choose,
    unsettled,
)
from inference.measured import Measurements
from shoal import settings
from shoal_cli.up import beliefs, prepare_model

RATES = st.dictionaries(st.sampled_from([FLOAT32, BFLOAT16, INT8]), st.floats(0.1, 1000))
AGREEMENTS = st.dictionaries(
    st.sampled_from([BFLOAT16, INT8]),
    st.integers(0, 400).flatmap(lambda photos: st.builds(Agreement, st.integers(0, photos), st.just(photos))),
)
ALL = Agreement(108, 108)


def put(cache: Path, *kinds: str) -> Path:
    """ResNet50 for OpenVINO in a cache, but for its content; returns the model's folder."""
    home = cache / "models" / "resnet50"
    for kind in kinds:
        folder = home / store.folder("openvino", kind)
        folder.mkdir(parents=True)
        precision = INT8 if kind == INT8 else FLOAT32
        store.Card("resnet50", "openvino", "here", "sha256:0", "MIT", {}, {}, "", precision=precision).write(folder)
    return home


@pytest.mark.parametrize(
    ("same", "photos", "upper"),
    [(0, 10, 0.2775), (94, 100, 0.9722), (97, 100, 0.9897), (81, 263, 0.3662), (100, 100, 1.0), (0, 0, 1.0)],
)
def test_the_interval_is_wilson_s(same: int, photos: int, upper: float) -> None:
    # 0 of 10 and 81 of 263 are examples of Newcombe 1998, Statistics in Medicine 17:857.
    assert Agreement(same, photos).upper_end == pytest.approx(upper, abs=5e-5)


@given(st.integers(1, 1000).flatmap(lambda photos: st.tuples(st.integers(0, photos), st.just(photos))))
def test_the_upper_end_is_above_the_share_and_solves_wilson_s_equation(pair: tuple[int, int]) -> None:
    same, photos = pair
    upper = Agreement(same, photos).upper_end
    assert same / photos <= upper + 1e-12
    # Wilson: the share is 1.96 standard errors below the upper end, with the standard error of the upper end itself.
    assert (upper - same / photos) ** 2 == pytest.approx(1.959964**2 * upper * (1 - upper) / photos, abs=1e-9)


@pytest.mark.parametrize(
    ("same", "photos", "settled"),
    [(99, 99, False), (98, 100, True), (106, 108, True), (105, 108, False), (102, 108, True), (208, 216, False)],
)
def test_more_pictures_are_needed_only_in_doubt(same: int, photos: int, settled: bool) -> None:
    assert Agreement(same, photos).settled == settled


@given(RATES, AGREEMENTS)
def test_the_fastest_that_is_permitted_wins(rates: dict[str, float], agreement: dict[str, Agreement]) -> None:
    choice = choose(rates, agreement)

    def permitted(name: str) -> bool:
        found = agreement.get(name, Agreement(0, 0))
        enough = found.photos >= LEAST_PHOTOS and found.upper_end >= LEAST_AGREEMENT
        return enough and rates[name] >= LEAST_GAIN * rates.get(FLOAT32, math.inf)

    others = {name for name in rates if name != FLOAT32}
    good = {name for name in others if permitted(name)}
    assert choice.precision in (good or {FLOAT32})
    assert all(rates[name] <= rates[choice.precision] for name in good)
    assert set(choice.refused) == others - good
    assert all(name in reason for name, reason in choice.refused.items())


@given(RATES, AGREEMENTS, st.sampled_from([0.25, 0.5, 2.0, 8.0]))
def test_a_machine_that_is_busy_with_something_else_chooses_the_same(
    rates: dict[str, float], agreement: dict[str, Agreement], slower: float
) -> None:
    slow = {name: rate * slower for name, rate in rates.items()}
    assert choose(slow, agreement).precision == choose(rates, agreement).precision


@pytest.mark.parametrize(
    ("rates", "agreement", "chosen", "reason"),
    [
        (
            {FLOAT32: 39.5, BFLOAT16: 23.7, INT8: 70},
            {BFLOAT16: ALL, INT8: Agreement(97, 100)},
            INT8,
            "bfloat16 does 24",
        ),
        ({FLOAT32: 31.7, BFLOAT16: 61.6, INT8: 104}, {BFLOAT16: ALL, INT8: ALL}, INT8, ""),
        ({FLOAT32: 31.7, BFLOAT16: 61.6, INT8: 104}, {BFLOAT16: ALL, INT8: Agreement(94, 100)}, BFLOAT16, "of 100 pic"),
        ({FLOAT32: 18, INT8: 32}, {INT8: Agreement(8, 8)}, FLOAT32, "compared on 8 pictures, 100 are needed"),
        ({FLOAT32: 18, INT8: 19}, {INT8: ALL}, FLOAT32, "int8 does 19 images/s, float32 18"),
        ({FLOAT32: 18}, {}, FLOAT32, ""),
        ({}, {}, FLOAT32, ""),
    ],
)
def test_what_is_chosen_on_the_machines_that_were_measured(
    rates: Mapping[str, float], agreement: Mapping[str, Agreement], chosen: str, reason: str
) -> None:
    choice = choose(rates, agreement)
    assert choice.precision == chosen
    assert reason in "; ".join(choice.refused.values())


def test_what_was_measured_is_kept_for_each_kind_of_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = put(tmp_path, FLOAT32, INT8)
    here = Measurements("sha256:0", {INT8: ALL}).with_here(INT8, {FLOAT32: 18.04, INT8: 32.0})
    here.write(home, "openvino")

    assert measured.read(home, "openvino", "sha256:0") == here
    artefact = store.find("resnet50", "openvino", tmp_path)
    assert (artefact.precision, store.seconds_a_photo(artefact)) == (INT8, 1 / 32.0)
    exact = store.find("resnet50", "openvino", tmp_path, precision=FLOAT32)
    assert (exact.precision, store.seconds_a_photo(exact)) == (FLOAT32, 1 / 18.0)
    assert json.loads((home / "openvino-measured.json").read_text())["on_cpu"][measured.kind()]["measured"] == {
        FLOAT32: {"images_per_second": 18.0, "cpu": measured.cpu()},
        INT8: {"images_per_second": 32.0, "cpu": measured.cpu()},
    }

    monkeypatch.setattr(measured, "kind", lambda: "another CPU: amx_bf16")
    assert store.find("resnet50", "openvino", tmp_path).precision == INT8
    assert store.seconds_a_photo(store.find("resnet50", "openvino", tmp_path)) is None
    both = here.with_here(BFLOAT16, {FLOAT32: 20.0, BFLOAT16: 60.0, INT8: 40.0})
    both.write(home, "openvino")
    assert len(both.on_cpu) == 2
    artefact = store.find("resnet50", "openvino", tmp_path)
    assert (artefact.precision, artefact.folder.name, artefact.card.precision) == (BFLOAT16, "openvino", FLOAT32)
    assert store.seconds_a_photo(artefact) == 1 / 60.0


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', '{"format": 2, "made_for": "sha256:0"}', "null"])
def test_what_cannot_be_read_was_not_measured(content: str, tmp_path: Path) -> None:
    home = put(tmp_path, FLOAT32)
    (home / "openvino-measured.json").write_text(content)
    assert store.find("resnet50", "openvino", tmp_path).measured is None


def test_other_weights_are_measured_anew(tmp_path: Path) -> None:
    home = put(tmp_path, FLOAT32)
    Measurements("sha256:1").with_here(BFLOAT16, {BFLOAT16: 9.0}).write(home, "openvino")
    artefact = store.find("resnet50", "openvino", tmp_path)
    assert (artefact.precision, artefact.measured) == (FLOAT32, None)


def test_a_choice_whose_files_are_gone_leaves_those_that_are_there(tmp_path: Path) -> None:
    home = put(tmp_path, FLOAT32)
    Measurements("sha256:0").with_here(INT8, {FLOAT32: 18.0, INT8: 32.0}).write(home, "openvino")
    artefact = store.find("resnet50", "openvino", tmp_path)
    assert (artefact.precision, artefact.folder.name) == (FLOAT32, "openvino")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            "processor : 0\nmodel name : AMD EPYC\nflags : fpu sse avx2 avx fma\n\nflags : avx512f\n",
            "AMD EPYC: avx avx2 fma",
        ),
        ("processor : 0\nmodel name : Xeon\nflags : amx_bf16 avx512_vnni\n", "Xeon: amx_bf16 avx512_vnni"),
        ("processor : 0\nFeatures : fp asimd bf16 i8mm aes\n", "machine: asimd bf16 i8mm"),
        ("", "machine:"),
    ],
)
def test_a_kind_of_cpu_is_its_name_and_its_instructions(
    text: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(measured, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: "machine")
    assert measured.kind() == named


def test_the_controller_is_told_what_was_measured(tmp_path: Path) -> None:
    home = put(tmp_path, FLOAT32)
    chosen = settings.load({"SHOAL_CACHE_DIR": str(tmp_path), "SHOAL_LOCAL_BOOT_SECONDS": "0.5"})
    assert beliefs(chosen) == {"SHOAL_EXPECTED_BOOT_SECONDS": "2"}

    Measurements("sha256:0").with_here(FLOAT32, {FLOAT32: 18.0}).write(home, "openvino")

    found = beliefs(chosen)
    assert settings.load(found).expected_service_seconds == pytest.approx(1 / 18, rel=1e-3)
    assert settings.load(found).expected_most_per_second == pytest.approx(18, rel=1e-3)
    assert settings.load(found).expected_boot_seconds == 2.0
    Measurements("sha256:0").with_here(FLOAT32, {FLOAT32: 4_000.0}).write(home, "openvino")  # a net of faces
    assert settings.load(beliefs(chosen)).expected_service_seconds == 0.001


def test_shoal_up_prepares_until_the_arithmetic_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = put(tmp_path, FLOAT32)
    prepared: list[str] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        prepared.append(" ".join(command[-2:]))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("shoal_cli.up.subprocess.run", run)
    cache = {"SHOAL_CACHE_DIR": str(tmp_path)}

    prepare_model(settings.load(cache | {"SHOAL_PRECISION": "float32"}))
    assert prepared == []
    prepare_model(settings.load(cache))
    assert prepared == ["models prepare"]

    Measurements("sha256:0").with_here(FLOAT32, {FLOAT32: 18.0}).write(home, "openvino")
    prepare_model(settings.load(cache))
    assert prepared == ["models prepare"]

    capsys.readouterr()
    prepare_model(settings.load(cache | {"SHOAL_MODELS": "mobilenet_v2"}))
    assert capsys.readouterr().out == "Preparing mobilenet_v2, once\n"  # what is prepared is not named


@pytest.mark.parametrize(
    ("int8", "bfloat16", "asked"),
    [
        (Agreement(105, 108), Agreement(105, 108), [BFLOAT16, INT8]),
        (Agreement(108, 108), Agreement(105, 108), []),  # int8 is chosen, and faster
        (Agreement(105, 108), Agreement(108, 108), [INT8]),
        (Agreement(60, 108), Agreement(105, 108), [BFLOAT16]),
    ],
)
def test_only_what_may_be_chosen_is_looked_at_again(int8: Agreement, bfloat16: Agreement, asked: list[str]) -> None:
    rates = {FLOAT32: 30.0, BFLOAT16: 60.0, INT8: 90.0}
    assert unsettled(rates, {BFLOAT16: bfloat16, INT8: int8}) == asked
    assert unsettled({FLOAT32: 60.0, BFLOAT16: 60.0}, {BFLOAT16: Agreement(105, 108)}) == []
    assert unsettled({}, {BFLOAT16: Agreement(105, 108)}) == [BFLOAT16]
