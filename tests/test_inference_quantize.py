"""int8: made once of the real model, compared on photos that were held out, refused where it is worth nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.linked_cache import linked_cache
from inference import model as models
from inference import process, store
from inference.arithmetic import FLOAT32, INT8
from inference.preparing import photos, quantize
from inference.preparing import prepare as preparation
from shoal.errors import NotFound, Permanent
from shoal_cli.models import command
from tests.inference_fixtures import EXAMPLES, EXPECTED, MAX_BYTES, MAX_PIXELS, PHOTOS, cache_dir

MEASURED = {
    "calibration": 60,
    "held_out": 100,
    "top1": 0.99,
    "top5": 1.0,
    "probability": 0.02,
    "images_per_second": {FLOAT32: 20.0, INT8: 40.0},
    "cpu": "a CPU",
}


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
    """A cache with ResNet50 in int8 beside float32, and what was said when it was made."""
    cache = linked(tmp_path_factory.mktemp("cache"))
    shell = CliRunner(env={"SHOAL_CACHE_DIR": str(cache), "SHOAL_MODEL": "resnet50"})
    done = shell.invoke(command, ["quantize"], catch_exceptions=False)
    return cache, done.output


def test_int8_agrees_with_float32_on_photos_held_out(made: tuple[Path, str]) -> None:
    cache, said = made

    card = store.find("resnet50", "openvino", cache).card

    assert card.precision == INT8
    assert card.quantized["top1"] >= 0.97
    assert card.quantized["top5"] >= 0.99
    assert (card.quantized["calibration"], card.quantized["held_out"]) == (60, 100)
    assert card.quantized["held_out_from"] == photos.HELD_OUT
    assert card.source == store.find("resnet50", "openvino", cache, precision=FLOAT32).card.source
    assert card.size < 0.3 * store.find("resnet50", "openvino", cache, precision=FLOAT32).card.size
    assert "calibrating ResNet50 on 60 photos" in said
    assert "resnet50 is ready for openvino in int8, calibrated on 60 photos, the label of float32 for 9" in said


def test_a_worker_finds_it_and_the_operator_may_want_float32(made: tuple[Path, str]) -> None:
    cache, _ = made
    found = {}
    for precision in store.PRECISIONS:
        recogniser = process.load(["resnet50"], "openvino", cache, None, MAX_PIXELS, MAX_BYTES, precision=precision)
        decoded = [recogniser.decode("", (EXAMPLES / name).read_bytes()) for name in EXPECTED]
        answers = recogniser.infer("", decoded)
        assert [answer.labels[0].name for answer in answers] == list(EXPECTED.values())
        found[precision] = [answer.labels[0].probability for answer in answers]

    assert found["auto"] == found[INT8]
    assert found["auto"] != found[FLOAT32]


def test_the_card_of_int8_is_listed_and_checked(made: tuple[Path, str]) -> None:
    cache, _ = made
    shell = CliRunner(env={"SHOAL_CACHE_DIR": str(cache), "SHOAL_MODEL": "resnet50"})

    listed = shell.invoke(command, ["list"], catch_exceptions=False).output
    measured = shell.invoke(command, ["bench"], catch_exceptions=False).output

    assert [line.partition(":")[0] for line in listed.splitlines()] == [
        "resnet50/openvino",
        "resnet50/openvino-int8",
        "resnet50/weights",
    ]
    assert "times as fast on" in listed
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top1": 0.969}, r"gives the label of float32 for 96\.9% of 100 photos; 97% are needed: float32 stays in use"),
        ({"images_per_second": {FLOAT32: 20.0, INT8: 21.0}}, "does 21 images/s on this CPU, 20 in float32"),
        ({"top1": 0.97}, ""),
    ],
)
def test_what_is_worse_is_not_put_in_place(
    change: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = linked(tmp_path)
    monkeypatch.setattr("inference.preparing.subprocess_task.ask", lambda *_: MEASURED | change)

    if message:
        with pytest.raises(Permanent, match=message):
            quantize.quantize("resnet50", "openvino", cache, None, None, print)
    else:
        quantize.quantize("resnet50", "openvino", cache, None, None, print)

    found = store.find("resnet50", "openvino", cache).card
    assert found.precision == (FLOAT32 if message else INT8)
    assert not list((cache / "models" / "resnet50").glob(".scratch-*"))


def test_a_folder_of_too_few_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match=r"has 8 photos \(.jpg, .jpeg, .png\); 160 are needed"):
        quantize.quantize("resnet50", "openvino", linked(tmp_path), None, EXAMPLES, print)


@pytest.mark.parametrize("engine", ["keras", "onnxruntime"])
def test_another_engine_says_which_one_can(engine: str, tmp_path: Path) -> None:
    from inference import engines

    with pytest.raises(Permanent, match="SHOAL_ENGINE=openvino can run it in int8"):
        engines.by_name(engine).quantize(models.by_name("resnet50"), tmp_path, [], tmp_path)


def test_agreement_counts_what_it_says() -> None:
    right = np.array([[0.7, 0.1, 0.05, 0.05, 0.05, 0.05], [0.1, 0.5, 0.1, 0.1, 0.1, 0.1]], np.float32)
    found = np.array([[0.6, 0.2, 0.05, 0.05, 0.05, 0.05], [0.3, 0.05, 0.2, 0.15, 0.15, 0.15]], np.float32)

    assert quantize.agreement(right, right) == {"top1": 1.0, "top5": 1.0, "probability": 0.0}
    assert quantize.agreement(right, found) == {"top1": 0.5, "top5": 0.5, "probability": 0.275}


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
    monkeypatch.setattr("inference.preparing.subprocess_task.ask", lambda *_: MEASURED)
    shell = CliRunner(env={"SHOAL_CACHE_DIR": str(cache), "SHOAL_PRECISION": INT8})

    done = shell.invoke(command, ["prepare"], catch_exceptions=False)

    assert preparation.prepare("resnet50", "openvino", cache, None, PHOTOS, print).card.precision == INT8
    assert "resnet50 is ready for openvino in int8" in done.output
