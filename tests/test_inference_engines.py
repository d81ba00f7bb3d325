"""The engines: the same labels from each, and what each does with files that it cannot run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from inference import engines, store
from inference import model as models
from inference.answer import Outputs
from inference.arithmetic import FLOAT32
from inference.engines import Loaded
from shoal.errors import Permanent
from shoal_cli.models import example_photos
from tests import task_fixtures
from tests.inference_fixtures import PHOTOS, ROOT, cache_dir

MODEL = models.by_name("resnet50")
RUN_BY = ("resnet50", "yolov4_tiny")  # models of OpenVINO and of OpenCV

_ALL = """
import pathlib, sys
from inference import process
from inference.preparing import prepare
cache, photos = pathlib.Path(sys.argv[1]), sorted(pathlib.Path("static/examples").glob("*.jpg"))
for engine in ("openvino", "onnxruntime", "keras"):
    prepare.prepare("resnet50", engine, cache, None, photos, lambda text: None)
    it = process.load(["resnet50"], engine, cache, None, 50_000_000, 20_000_000, threads=1)
    answers = it.infer("", [it.decode("", photo.read_bytes()) for photo in photos])
    print("LABELS", *(answer.labels[0].name for answer in answers))
"""


def a_loaded(model: str, count: int, threads: int | None = None) -> tuple[Loaded, np.ndarray]:
    """A model, loaded, and that many pictures of noise for it."""
    found = task_fixtures.artefact(model)
    loaded = engines.by_name(found.engine).load(found.model, found.folder, threads)
    side = found.model.side
    return loaded, np.random.default_rng(1).integers(0, 256, (count, side, side, 3), np.uint8)


def joined(parts: list[Outputs]) -> Outputs:
    return tuple(map(np.concatenate, zip(*parts, strict=True)))


def difference(found: Outputs, right: Outputs) -> float:
    return max(float(np.abs(one - other).max()) for one, other in zip(found, right, strict=True))


def test_every_engine_gives_the_same_labels(tmp_path: Path) -> None:
    for known in (Path("models/resnet50") / name for name in (store.WEIGHTS, "openvino")):
        shutil.copytree(cache_dir() / known, tmp_path / known, copy_function=os.symlink)
    done = subprocess.run([sys.executable, "-c", _ALL, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr[-2000:]
    first, *others = [line.split() for line in done.stdout.splitlines() if line.startswith("LABELS")]
    assert others == [first, first]
    assert len(first) == 1 + len(PHOTOS)
    for engine in ("openvino", "onnxruntime", "keras"):
        found = store.find("resnet50", engine, tmp_path).card.agreement
        assert found["float32"]["same_label"] == len(example_photos())
        assert found["float32"]["max_difference"] < 1e-4


@pytest.mark.parametrize(("engine", "file"), [("openvino", "model.xml"), ("onnxruntime", "model.onnx")])
def test_files_that_cannot_be_loaded_are_damaged(engine: str, file: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(b"noise")

    with pytest.raises(Permanent, match=r"files in .* are damaged: run `shoal models prepare --again`"):
        engines.by_name(engine).load(MODEL, tmp_path)


@pytest.mark.parametrize("model", RUN_BY)
def test_many_callers_at_once_get_each_their_own(model: str) -> None:
    loaded, pictures = a_loaded(model, 12)
    one_by_one = [loaded.infer(picture[np.newaxis]) for picture in pictures]

    with ThreadPoolExecutor(6) as callers:
        at_once = list(callers.map(loaded.infer, np.split(pictures, 6)))

    assert difference(joined(at_once), joined(one_by_one)) < 1e-4


@pytest.mark.parametrize("model", RUN_BY)
def test_any_number_of_pictures_goes_into_a_batch(model: str) -> None:
    loaded, pictures = a_loaded(model, 5, threads=len(os.sched_getaffinity(0)))

    all_at_once = loaded.infer(pictures)
    alone = [loaded.infer(pictures[at : at + 1]) for at in range(5)]

    assert difference(all_at_once, joined(alone)) < 1e-4


def test_the_answer_of_a_classifier_is_probabilities() -> None:
    loaded, pictures = a_loaded("resnet50", 5)

    [found] = loaded.infer(pictures)

    assert found.shape == (5, 1000)
    assert found.sum(axis=1) == pytest.approx(np.ones(5), abs=1e-4)


def test_opencv_refuses_a_keras_net_and_an_onnx_file(tmp_path: Path) -> None:
    for net in (object(), tmp_path / "net.onnx"):
        with pytest.raises(Permanent, match="opencv runs darknet's nets only: set SHOAL_ENGINE to another engine"):
            engines.by_name("opencv").convert(net, tmp_path)


def test_opencv_has_no_int8(tmp_path: Path) -> None:
    opencv = engines.by_name("opencv")

    assert opencv.precisions() == (FLOAT32,)
    with pytest.raises(Permanent, match="opencv runs resnet50 in float32 only"):
        opencv.quantize(MODEL, tmp_path, [], tmp_path)


@pytest.mark.parametrize("harm", [lambda file: os.truncate(file, 1000), Path.unlink])
def test_darknet_files_that_cannot_be_loaded_are_damaged(harm: Callable[[Path], None], tmp_path: Path) -> None:
    found = task_fixtures.artefact("yolov4_tiny")
    for name in ("net.cfg", "net.weights"):
        shutil.copy(found.folder / name, tmp_path)
    harm(tmp_path / "net.cfg")

    with pytest.raises(Permanent, match=r"files in .* are damaged: run `shoal models prepare --again`"):
        engines.by_name("opencv").load(found.model, tmp_path)
