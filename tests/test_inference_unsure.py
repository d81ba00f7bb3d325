"""From which confidence on the small model's label stands, without asking the pool's model."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inference.preparing.browser.unsure import LOST, least_sure, steps

PHOTOS = st.lists(st.tuples(st.floats(0, 0.9990234375, width=32), st.booleans()), min_size=1, max_size=200)


def lost(sure: np.ndarray, same: np.ndarray, threshold: float) -> int:
    """How many photos keep a label that the pool's model would not give."""
    return int(((sure >= threshold) & ~same).sum())


@given(PHOTOS)
def test_no_more_than_the_allowed_share_keeps_another_label(photos: list[tuple[float, bool]]) -> None:
    sure, same = np.array([one for one, _ in photos], np.float32), np.array([one for _, one in photos])
    assert lost(sure, same, least_sure(sure, same)) <= LOST * len(photos)


def test_the_threshold_is_between_the_last_that_is_sent_and_the_next_surer_one() -> None:
    sure = np.linspace(0.01, 1.0, 100, dtype=np.float32)
    same = np.ones(100, bool)
    assert least_sure(sure, same) == 0
    same[[49, 79]] = False  # at 0.50 and 0.80: one of 100 may stay, since (1 + 1) / (100 + 2) is no more than 2 %
    assert abs(least_sure(sure, same) - 0.505) < 1e-6
    same[-3:] = False
    assert abs(least_sure(sure, same) - 0.995) < 1e-6
    assert least_sure(np.ones(10, np.float32), np.zeros(10, bool)) == 1


def test_a_step_tells_the_share_that_agrees_with_two_photos_more() -> None:
    sure, same = np.array([0.95, 0.95, 0.1, 1.0], np.float32), np.array([True, True, False, True])
    told = {edge: share for edge, share in steps(sure, same)}
    assert told[0.9] == 0.8  # four of five
    assert told[0.0] == 0.3333
    assert told[0.5] == 0.5  # nothing is known
