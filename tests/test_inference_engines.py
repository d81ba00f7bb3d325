"""The engines: the same labels from each, and what each does with files that it cannot run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from inference import engines, store
from inference import model as models
from inference.arithmetic import FLOAT32
from shoal.errors import Permanent
from shoal_cli.models import example_photos
from tests.inference_fixtures import PHOTOS, ROOT, cache_dir

MODEL = models.by_name("resnet50")

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


def test_many_callers_at_once_get_each_their_own() -> None:
    artefact = store.find("resnet50", "openvino", cache_dir(), precision=FLOAT32)
    loaded = engines.by_name("openvino").load(artefact.model, artefact.folder)
    pictures = np.random.default_rng(1).integers(0, 256, (12, 224, 224, 3), np.uint8)
    one_by_one = np.stack([loaded.infer(picture[np.newaxis])[0][0] for picture in pictures])

    with ThreadPoolExecutor(6) as callers:
        at_once = np.concatenate([found for [found] in callers.map(loaded.infer, np.split(pictures, 6))])

    assert np.abs(at_once - one_by_one).max() < 1e-4


def test_any_number_of_pictures_goes_into_a_batch() -> None:
    artefact = store.find("resnet50", "openvino", cache_dir(), precision=FLOAT32)
    loaded = engines.by_name("openvino").load(artefact.model, artefact.folder, threads=len(os.sched_getaffinity(0)))
    pictures = np.random.default_rng(1).integers(0, 256, (5, 224, 224, 3), np.uint8)

    [all_at_once] = loaded.infer(pictures)
    alone = [loaded.infer(pictures[at : at + 1])[0][0] for at in range(5)]

    assert all_at_once.shape == (5, 1000)
    assert np.abs(all_at_once - np.stack(alone)).max() < 1e-4
    assert all_at_once.sum(axis=1) == pytest.approx(np.ones(5), abs=1e-4)
