"""Controllers killed and paused, workers asked to leave: short versions of `python -m benchmarks.chaos`.

Real controllers and workers on the embedded cloud; the workers' engine only takes its time, which is all that a
controller sees of one.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import chaos


def test_kill_9_of_the_controller_launches_nothing_twice_and_leaves_nothing(tmp_path: Path) -> None:
    """Pitfall: launching again while pending. Without the intents each of the controller's lives launches anew."""
    outcome = chaos.kills(tmp_path / "plant", seed=4, scale_outs=1)
    assert outcome.wrong == []
    assert outcome.rows["controllers killed"] >= 1


def test_two_controllers_of_which_the_active_one_is_paused(tmp_path: Path) -> None:
    """Pitfall: two controllers, cap breached. Without the lease both launch up to the cap."""
    outcome = chaos.pair(tmp_path / "plant", seed=2, seconds=12, rest=0.5)
    assert outcome.wrong == []
    assert outcome.rows["pauses of the active controller"] >= 1


def test_busy_workers_that_are_asked_to_leave_finish_first(tmp_path: Path) -> None:
    """Pitfall: killing the busy. A worker that is terminated instead has no last words, and its work is done twice."""
    outcome = chaos.drains(tmp_path / "plant", seed=3, runs=1, drain_by="tag")
    assert outcome.wrong == []
