"""Emotion: every face that looks at the camera, and nothing that is none."""

from __future__ import annotations

import dataclasses
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference import faces, images, process
from inference.models import mini_xception
from inference.preparing import architecture, sources, weights
from inference.preparing.cutting import request as cutting
from inference.split import header, packing
from inference.split.header import BadActivation
from inference.tasks import emotion
from shoal import settings
from shoal.messages import Box, Job
from shoal_cli._splitting._device import Device
from tests.inference_fixtures import MAX_BYTES, MAX_PIXELS, encoded
from tests.task_fixtures import answer, photo, recogniser

MODEL = mini_xception.MODEL

# Looked at by eye: the square from the brows to the chin, and what everybody would call it.
SEEN: dict[str, tuple[Box, str]] = {
    "admiral.jpg": ((165, 125, 365, 325), "neutral"),
    "2011_001610": ((135, 150, 200, 220), "happy"),
    "000000086956": ((210, 370, 295, 460), "happy"),
}


def holds_middle_of(box: Box, other: Box) -> bool:
    x, y = (other[0] + other[2]) / 2, (other[1] + other[3]) / 2
    return box[0] < x < box[2] and box[1] < y < box[3]


def side_by_side(*names: str) -> bytes:
    """Photos beside each other in one, all 500 pixels high."""
    opened = [Image.open(photo(name)).convert("RGB") for name in names]
    scaled = [one.resize((one.width * 500 // one.height, 500), Image.Resampling.BICUBIC) for one in opened]
    whole = Image.new("RGB", (sum(one.width for one in scaled), 500))
    left = 0
    for one in scaled:
        whole.paste(one, (left, 0))
        left += one.width
    return encoded(whole, "JPEG", quality=92)


@pytest.mark.parametrize("name", SEEN)
def test_a_face_is_found_and_its_emotion(name: str) -> None:
    box, feels = SEEN[name]

    found = answer(MODEL.name, photo(name).read_bytes())

    assert [one.name for one in found.detections] == [feels]
    face = found.detections[0]
    assert holds_middle_of(face.box, box)
    assert 0.6 < (face.box[2] - face.box[0]) / (box[2] - box[0]) < 1.6
    assert face.class_id == {"happy": 3, "neutral": 6}[feels]
    assert found.warnings == (emotion.GUESS,)


def test_every_emotion_is_told_best_first() -> None:
    face = answer(MODEL.name, photo("admiral.jpg").read_bytes()).detections[0]

    assert len(face.labels) == 7
    assert face.labels[0].name == face.name
    assert face.labels[0].probability == face.score
    assert sum(one.probability for one in face.labels) == pytest.approx(1, abs=1e-4)
    chances = [one.probability for one in face.labels]
    assert chances == sorted(chances, reverse=True)


def test_two_faces_are_two_detections_the_larger_first() -> None:
    found = answer(MODEL.name, side_by_side("admiral.jpg", "2011_001610")).detections

    assert [one.name for one in found] == ["neutral", "happy"]
    assert found[0].box[2] < found[1].box[0]


def test_photos_with_different_numbers_of_faces_share_a_batch() -> None:
    reader = recogniser(MODEL.name)
    reader.warm_up()  # there is no face in it
    payloads = [photo("admiral.jpg").read_bytes(), photo("cat.jpg").read_bytes()]
    payloads.append(side_by_side("admiral.jpg", "2011_001610"))
    opened = [reader.decode("", payload) for payload in payloads]

    together = reader.infer("", opened)

    assert [len(one.detections) for one in together] == [1, 0, 2]
    for one, payload in zip(together, payloads, strict=True):
        alone = answer(MODEL.name, payload)
        assert [(face.name, face.box) for face in one.detections] == [
            (face.name, face.box) for face in alone.detections
        ]


def test_no_face_is_an_answer_and_not_a_failure() -> None:
    job = Job("0" * 20, 0, "cat.jpg", "q")

    result = process.process(recogniser(MODEL.name), job, photo("cat.jpg").read_bytes())

    assert result.status == "done"
    assert result.detections == ()
    assert result.warnings == (emotion.NO_FACE,)


def test_boxes_are_those_of_the_whole_photo() -> None:
    with Image.open(photo("admiral.jpg")) as small:
        large = small.resize((small.width * 4, small.height * 4), Image.Resampling.BICUBIC)

    face = answer(MODEL.name, encoded(large, "JPEG")).detections[0]

    assert holds_middle_of(face.box, tuple(4 * edge for edge in SEEN["admiral.jpg"][0]))  # type: ignore[arg-type]
    assert face.relative_box == pytest.approx(
        [edge / large.size[at % 2] for at, edge in enumerate(face.box)], abs=0.002
    )


def test_a_face_at_the_edge_is_cropped_whole() -> None:
    with Image.open(photo("admiral.jpg")) as whole:
        edge = whole.convert("RGB").crop((150, 100, 400, 340))

    found = answer(MODEL.name, encoded(edge, "PNG")).detections

    assert all(value >= 0 for one in found for value in one.box)
    assert all(one.box[2] <= edge.width and one.box[3] <= edge.height for one in found)


@pytest.mark.parametrize("name", ["cat.jpg", "coffee.jpg", "palace.jpg", "stairs.jpg", "rocket.jpg", "shuttle.jpg"])
def test_things_are_no_faces(name: str) -> None:
    assert faces.find(images.open_whole(photo(name).read_bytes(), emotion.SEEN_PIXELS, MAX_PIXELS).pixels) == []


def test_faces_are_found_by_many_threads_at_once() -> None:
    from concurrent.futures import ThreadPoolExecutor

    pixels = images.open_whole(photo("admiral.jpg").read_bytes(), emotion.SEEN_PIXELS, MAX_PIXELS).pixels
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(faces.find, [pixels] * 8))

    assert all(one == found[0] for one in found)
    assert len(found[0]) == 1


def test_a_device_that_finds_the_faces_and_a_tail_answer_as_the_whole_net(tmp_path: Path) -> None:
    cut, tail = "add_1", f"{MODEL.name}.add_1"
    recogniser(MODEL.name)  # has the weights fetched
    shutil.copytree(
        settings.load().cache_dir / "models" / MODEL.name / "weights", tmp_path / "models/mini_xception/weights"
    )
    shown = [photo(name) for name in (*SEEN, "cat.jpg")]

    head, _ = cutting.prepare_pair(MODEL.name, cut, "openvino", tmp_path, shown, print)

    assert head.card.agreement["photos"] == head.card.agreement["uint8"]["same_label"] == 2 * len(SEEN)  # and mirrored
    device = Device.of(dataclasses.replace(settings.load(), cache_dir=tmp_path), tail, "", "")
    reader = process.load([tail], "openvino", tmp_path, None, MAX_PIXELS, MAX_BYTES)
    for payload in (side_by_side("admiral.jpg", "2011_001610"), *(path.read_bytes() for path in shown)):
        message = device.pack(payload)
        [found] = reader.infer("", [reader.decode("", message)])
        right = answer(MODEL.name, payload)
        faces_found = [(face.name, face.box, face.relative_box) for face in found.detections]
        assert faces_found == [(face.name, face.box, face.relative_box) for face in right.detections]
        assert set(found.warnings) <= set(right.warnings)
        assert len(message) < 1_000 + 8_000 * len(faces_found)

    whole = packing.pack(np.zeros(device.point.shape, np.float32), device.point)
    with pytest.raises(BadActivation, match="is of a whole picture, and this tail reads parts"):
        reader.decode("", whole)
    with pytest.raises(BadActivation, match="is of parts of a picture, and this tail reads whole pictures"):
        packing.unpack(message, device.point)
    assert header.read(message)[0].boxes == ()  # the cat's


def test_the_net_is_the_published_one(tmp_path: Path) -> None:
    fetched = sources.fetch(MODEL.sources[0], tmp_path, print)
    net = architecture.stock(MODEL)
    weights.put(MODEL, net, fetched)
    import keras

    published = keras.models.load_model(fetched.path, compile=False)
    reader = recogniser(MODEL.name)
    rows = np.concatenate([reader.decode("", photo(name).read_bytes()).tensor for name in SEEN])
    grey = np.stack([np.asarray(Image.fromarray(row).convert("L"), dtype=np.float32) for row in rows])
    seen = (grey / 127.5 - 1)[..., np.newaxis]

    assert np.abs(published.predict_on_batch(seen) - net.predict_on_batch(seen)).max() < 1e-5
    # Pillow rounds its grey, ours does not.
    ours = net.predict_on_batch(mini_xception.preprocess_input(rows.astype(np.float32)))
    assert np.abs(published.predict_on_batch(seen) - ours).max() < 0.02
    assert io.BytesIO(fetched.path.read_bytes()).read(4) == b"\x89HDF"
