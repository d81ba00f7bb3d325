"""The part `default` of the benchmark: what it makes of a ledger and of command lines."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import PARTS
from benchmarks.default import DefaultRound, launched, part_of
from benchmarks.photos import EXAMPLES, in_bytes
from inference.private_data import removed
from shoal.ledger import DoneAct, Entry
from shoal_cli.demo import numbered


def test_the_part_is_listed() -> None:
    assert "default" in PARTS


def test_launches_are_counted_from_the_ledger() -> None:
    acts = ((DoneAct("launch", ("a", "b")),), (DoneAct("drain", ("i-1",)),), (DoneAct("launch", ("c",)),))
    assert launched(Entry(1.0, "s", 1, 2, 3, 4, 5, done=done) for done in acts) == 3


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("python -P -m web_tier", "web"),
        ("python -m app_tier", "worker"),
        ("python -P -m local_cloud --state-dir x", "EC2"),
        ("python -m local_cloud.service_process", "S3 and SQS"),
        ("python -m shoal_cli up", "other"),
    ],
)
def test_processes_are_told_apart(command: str, part: str) -> None:
    assert part_of(command) == part


def test_what_is_outside_the_worker_and_the_browser() -> None:
    assert DefaultRound(30.0, 2.0, 1, {"worker": 28.0, "web": 5.0, "EC2": 2.5, "browser": 9.0}).outside == 7.5


def test_photos_have_the_size_that_is_measured() -> None:
    sizes = [len(in_bytes((EXAMPLES / name).read_bytes(), 104_000)) for name in ("cat.jpg", "coffee.jpg")]
    assert all(80_000 < size <= 104_000 for size in sizes), sizes


def test_numbered_photos_stay_different_when_private_data_is_taken_out() -> None:
    payloads = [path.read_bytes() for path in sorted(EXAMPLES.glob("*.jpg"))]  # what `shoal demo` sends
    payloads.append(in_bytes(payloads[0], 30_000))

    assert len({removed(numbered(one, number)) for one in payloads for number in range(20)}) == 20 * len(payloads)
