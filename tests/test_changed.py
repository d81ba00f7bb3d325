"""`make test-changed` runs what a change concerns, through imports, processes and files that are named."""

from __future__ import annotations

import pytest

from tests.changed import EVERY_TEST, ROOT, Reach, concerned, repository


@pytest.fixture(scope="module")
def reach() -> Reach:
    return Reach(ROOT, repository())


@pytest.mark.parametrize(
    ("changed", "concerned_ones", "others"),
    [
        ("inference/boxes.py", ["inference_detect", "system_load"], ["controller_plan", "local_cloud_cron"]),
        ("inference/models/imagenet.csv", ["inference_models"], ["controller_plan"]),
        ("inference/training/fit.py", ["system_train"], ["controller_plan", "web_intake"]),  # in a child process
        ("controller/policies/step.py", ["controller_policies", "system_controllers"], ["web_fetch"]),
        ("local_cloud/machines/cron.py", ["local_cloud_cron", "system_faults"], ["controller_plan"]),
        ("templates/fleet.html", ["web_browser", "web_fleet"], ["controller_plan", "inference_engines"]),
        ("ami/start-worker", ["system_faults"], ["inference_engines", "controller_plan"]),
        ("docs/hostile.md", ["local_cloud_hostile_draws"], ["controller_plan"]),
        ("tests/web_fixtures.py", ["web_intake", "web_fleet"], ["inference_engines"]),
        ("tests/test_web_intake.py", ["web_intake"], ["web_fleet"]),
    ],
)
def test_a_change_selects_the_tests_that_reach_it(
    reach: Reach, changed: str, concerned_ones: list[str], others: list[str]
) -> None:
    selected = concerned({changed}, reach)
    assert {f"tests/test_{name}.py" for name in concerned_ones} <= set(selected)
    assert not {f"tests/test_{name}.py" for name in others} & set(selected)


@pytest.mark.parametrize("changed", [*sorted(EVERY_TEST), "inference/removed.py"])
def test_what_every_test_stands_on_and_what_was_removed_select_all(reach: Reach, changed: str) -> None:
    assert len(concerned({changed}, reach)) == sum(path.startswith("tests/test_") for path in reach.files)


def test_no_change_selects_nothing(reach: Reach) -> None:
    assert concerned(set(), reach) == []
