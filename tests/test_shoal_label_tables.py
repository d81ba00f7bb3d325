"""What the tables of the venue `lambda` keep of a result."""

from __future__ import annotations

import pytest

from shoal.aws.label_tables import IMAGE, MOST_LABELS, confidences
from shoal.messages import Detection, Label, Result

MOST_ITEM_BYTES = 400 * 1024
RELATIVE = (0.0, 0.0, 1.0, 1.0)


def labelled(*names: tuple[str, float]) -> Result:
    return Result("key", "done", tuple(Label(name, "", confidence) for name, confidence in names))


def test_of_two_of_one_label_the_larger_counts() -> None:
    detections = [Detection("bus", 5, score, (0, 0, 1, 1), RELATIVE) for score in (0.4, 0.9, 0.7)]
    assert confidences(Result("key", "done", detections=tuple(detections))) == {"bus": 0.9}


@pytest.mark.parametrize("name", ["", IMAGE, "shoal-event", "shoal-error", "x" * 2049])
def test_a_name_that_is_no_column_is_left_out(name: str) -> None:
    assert confidences(labelled((name, 0.9), ("size", 0.8), ("table", 0.7))) == {"size": 0.8, "table": 0.7}


def test_an_item_stays_below_the_limit_with_the_surest_labels() -> None:
    kept = confidences(labelled(*((f"{n:04d}".ljust(2048, "x"), n / 1000) for n in range(1000))))
    assert len(kept) == MOST_LABELS
    assert min(kept.values()) == 0.951
    assert sum(len(name.encode()) + 10 for name in kept) < MOST_ITEM_BYTES
