""" "None of these": how its threshold is learned, and how the answer reaches a result, CSV and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from inference import own, process, store
from inference.arithmetic import BFLOAT16, FLOAT32, INT8, Agreement
from inference.preparing import adopt, agreement
from inference.preparing import prepare as preparation
from inference.tasks import classify
from inference.training import none_of_these
from shoal.messages import Job, Result, new_batch
from shoal.photo_record import NAMES, record, table_rows
from tests.inference_fixtures import MAX_BYTES, MAX_PIXELS, PHOTOS, encoded
from tests.test_inference_adopt import COLOURS, PAINT, SIDE, colour_net
from web_tier.results.batches import Photo
from web_tier.results.card import card

PROBABILITIES = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=120)
SHARES = st.floats(0.01, none_of_these.MOST_TURNED_AWAY)


@given(PROBABILITIES, SHARES)
def test_of_the_photos_it_learned_on_no_more_are_turned_away_than_promised(right: list[float], share: float) -> None:
    found = none_of_these.threshold(np.array(right, np.float32), share)

    assert sum(one < found for one in right) <= share * len(right)
    assert 0 <= found <= 1


@given(PROBABILITIES, SHARES)
def test_of_photos_that_it_did_not_learn_on_no_more_are_turned_away_on_average(some: list[float], share: float) -> None:
    right = np.array(some, np.float32)

    away = sum(one < none_of_these.threshold(np.delete(right, at), share) for at, one in enumerate(right))

    assert away <= share * len(right) + 1e-6


@pytest.mark.parametrize(
    ("photos", "share", "below"),
    [(18, 0.05, 0), (19, 0.05, 0.5), (38, 0.05, 0.5), (39, 0.05, 0.51), (8, 0.1, 0), (9, 0.1, 0.5), (48, 1 / 49, 0.5)],
)
def test_the_threshold_is_as_high_as_the_promise_allows(photos: int, share: float, below: float) -> None:
    right = np.random.default_rng(0).permutation(np.linspace(0.5, 0.5 + (photos - 1) / 100, photos, dtype=np.float32))

    assert none_of_these.threshold(right, share) == pytest.approx(below, abs=1.1e-4)


def test_what_was_learned_is_said() -> None:
    right, test = np.full(8, 0.9, np.float32), np.array([0.3, 0.5, 0.95], np.float32)
    ok = np.array([True, False, True])

    few = none_of_these.learn(right, test, ok, 0.05)
    more = none_of_these.learn(right, test, ok, 0.12)
    none = none_of_these.learn(right[:0], test, ok, 0.05)

    assert (few.below, few.turned_away) == (0, 0)
    assert few.words == (
        "not learned: to turn away at most 5% takes 19 validation images with the right label, and there are 8; add "
        "photos, or raise --validation or --none-of-these (to 0.12)"
    )
    assert none.words.endswith("there are 0; add photos, or raise --validation")
    assert more.below == pytest.approx(0.9, abs=1.1e-4)
    assert more.words == (
        "the answer if the best class has less than 89.99%; 2 of 3 test images get it, and 1 of those would have the "
        "right label"
    )
    assert none_of_these.learn(right, test, ok, 0).words == ""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with a net that names the strongest colour, and is none of them below 70 %."""
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(COLOURS))
    adopt.adopt("colours", colour_net(tmp_path / "net.onnx"), labels, "raw", tmp_path, print)
    preparation.prepare("colours", "openvino", tmp_path, None, PHOTOS, print)
    own.describe("colours", "classify", SIDE, COLOURS, tmp_path / "models" / "colours", none_below=0.7)
    return tmp_path


def labelled(cache: Path, paint: tuple[int, int, int]) -> tuple[Job, Result]:
    recogniser = process.load(["colours"], "openvino", cache, None, MAX_PIXELS, MAX_BYTES)
    job = Job(new_batch(0), 0, "a.png", "replies", "colours")
    return job, process.process(recogniser, job, encoded(Image.new("RGB", (90, 80), paint), "PNG"))


def test_a_photo_unlike_all_classes_is_none_of_them_everywhere(cache: Path) -> None:
    job, made = labelled(cache, (100, 95, 90))

    result = Result.from_json(made.to_json())

    assert result == made
    assert [label.name for label in result.labels] == [classify.NONE, *COLOURS]
    none, red = result.labels[:2]
    assert (none.readable, none.class_id, none.wordnet_id) == ("none of these", None, "")
    assert 1 / 3 < red.probability < 0.7
    assert none.probability == pytest.approx(1 - red.probability, abs=1e-6)
    told = record(job, result)
    assert (told["label"], told["readable"], told["class_id"]) == ("none_of_these", "none of these", None)
    assert [one["name"] for one in told["labels"]] == ["none_of_these", *COLOURS]
    [row] = table_rows(told)
    assert dict(zip(NAMES, row, strict=True))["label"] == "none_of_these"
    assert card(Photo(job, True, result))["label"] == "none of these"


def test_a_photo_of_a_class_is_named(cache: Path) -> None:
    _, result = labelled(cache, PAINT["green"])

    assert result.labels[0].name == "green"
    assert result.labels[0].probability > 0.7
    assert classify.NONE not in [label.name for label in result.labels]


def test_a_model_that_was_made_before_always_names_a_class(cache: Path) -> None:
    description = cache / "models" / "colours" / "model.json"
    assert json.loads(description.read_text()).pop("none_below") == 0.7
    description.write_text(json.dumps({"task": "classify", "side": SIDE}))

    _, result = labelled(cache, (100, 95, 90))

    assert store.model("colours", cache).none_below == 0
    assert [label.name for label in result.labels] == list(COLOURS)


def test_engines_are_compared_by_their_best_class(cache: Path) -> None:
    found = store.find("colours", "openvino", cache)
    opened = agreement.decoded(found.model, PHOTOS)
    exact, other = Constant([0.5, 0.3, 0.2]), Constant([0.3, 0.5, 0.2])

    compared = agreement.compare(found.model, {FLOAT32: exact, INT8: other, BFLOAT16: exact}, opened)

    assert compared.agreement == {INT8: Agreement(0, len(PHOTOS)), BFLOAT16: Agreement(len(PHOTOS), len(PHOTOS))}


class Constant:
    """A net that says the same of each image, and is sure of nothing."""

    batch = 4

    def __init__(self, probabilities: list[float]) -> None:
        self._row = np.array([probabilities], np.float32)

    def infer(self, batch: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        return (self._row.repeat(len(batch), axis=0),)
