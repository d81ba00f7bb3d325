"""A bulk run on the embedded cloud while workers and controller are killed. With all other trouble: benchmarks/bulk."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bulk.killed import killed_by_progress


def test_every_key_is_in_the_results_once_though_workers_and_controller_are_killed(tmp_path: Path) -> None:
    outcome = killed_by_progress(tmp_path, seed=1, objects=1000, kills=2)
    assert outcome.wrong == [], outcome
    assert outcome.counts["kill -9"] >= 2
