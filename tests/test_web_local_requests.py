"""The venue `local`: when a request of several photos is taken."""

from __future__ import annotations

from contextlib import suppress
from unittest.mock import Mock

import pytest

from shoal.messages import Job, Result
from web_tier.problems import Problem
from web_tier.venues import Asker, local
from web_tier.venues._engine import LocalEngine, PhotoToLabel
from web_tier.venues._fair_queue import Full

BATCH = "1m7yv8wnwyewm4djehxe"


@pytest.mark.parametrize("places", [0, 1])
def test_the_first_photo_decides_whether_a_request_is_taken(monkeypatch: pytest.MonkeyPatch, places: int) -> None:
    """A place that comes free between two photos of a refused request would have one labelled, and counted, in vain."""
    waits: list[bool] = []
    labelled: list[Job] = []

    class Busy(LocalEngine):
        def __init__(self) -> None: ...

        def begin(self, client: str, photo: PhotoToLabel, wait: bool = False) -> None:
            waits.append(wait)
            if not places:
                raise Full
            photo.done(Result(photo.job.key, "done"))

    monkeypatch.setattr(local, "busy", lambda _: Problem(503, local.BUSY))
    monkeypatch.setattr(local, "keep_result", lambda *_: None)
    request = local.LocalSubmission(Mock(), Busy(), Asker(labelled=labelled.append))
    for number in range(2):
        with suppress(Problem):
            request.submit(Job(BATCH, number, "cat.jpg", ""), b"")
    assert (len(labelled), waits) == ((2, [False, True]) if places else (0, [False]))
