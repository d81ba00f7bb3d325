"""`shoal label` and `shoal runs` on the cloud in memory: what they refuse, what they say, and where results go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from runs.handling import Handling
from runs.orders import read_order
from runs.records import RunRecords
from runs.run import Run
from shoal.errors import Permanent
from shoal.memory import ManualClock, memory_cloud
from shoal.ports import Beat, Cloud
from shoal_cli.__main__ import shoal
from shoal_cli._runs import label as labelling
from shoal_cli._runs import runs as running
from tests.test_runs_exactly_once import label as by_stub

Command = Callable[..., Result]


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cloud:
    """With a worker that serves two models."""
    found = memory_cloud(ManualClock())
    found.register.beat("one", Beat(1, model="resnet50, mobilenet_v2"))
    for module in (labelling, running):
        monkeypatch.setattr(module, "connect_to_running", lambda _: found)
    monkeypatch.setenv("SHOAL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("SHOAL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    return found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg", "notes.txt"):
        (folder / name).write_bytes(b"x" * (1 + len(name)))
    return folder


def said(*words: object, **more: Any) -> str:
    done = CliRunner().invoke(shoal, [str(one) for one in words], catch_exceptions=False, **more)
    return done.output


def work(cloud: Cloud) -> None:
    """Do what the bulk queue asks for."""
    handling = Handling(cloud, by_stub)
    while received := cloud.bulk.receive(10, 0):
        for message in received:
            assert handling.handle(read_order(message.body))
            cloud.bulk.delete([message.receipt])


def the_run(cloud: Cloud) -> Run:
    records = RunRecords(cloud.outputs)
    [name] = records.ids()
    return records.run(name)


def test_a_model_that_is_not_served_is_refused_before_anything_is_listed(cloud: Cloud, photos: Path) -> None:
    with pytest.raises(Permanent, match=r"resnet50, mobilenet_v2 can be chosen\. Did you mean mobilenet_v2\?"):
        said("label", photos, "--into", "out", "--model", "mobilenet_v3")
    assert not list(RunRecords(cloud.outputs).ids())


def test_results_for_a_folder_are_brought_there_by_a_command_that_is_named(
    cloud: Cloud, photos: Path, tmp_path: Path
) -> None:
    into = tmp_path / "out"
    assert "`shoal runs fetch " in said("label", photos, "--into", into, "--no-wait", "--yes")
    run = the_run(cloud)
    assert "fetch" not in said("runs", "show", run.id)  # it is not done
    work(cloud)
    assert f"not in that folder yet: `shoal runs fetch {run.id}`" in said("runs", "show", run.id)
    assert f"{into / f'summary-{run.id}.json'}\n" in said("runs", "fetch", run.id)
    assert "fetch" not in said("runs", "show", run.id)
    nothing = said(
        "label", photos, "--into", into, "--not-if-done", "--model", "resnet50", "--no-wait", "--where", "none"
    )
    assert nothing == "Nothing is new or changed.\n"


def test_of_a_folder_only_photos_are_taken_unless_a_pattern_chooses(cloud: Cloud, photos: Path, tmp_path: Path) -> None:
    told = said("label", photos, "--into", tmp_path / "out", "--no-wait")
    assert told.startswith("2 photos, ")
    assert "1 other file skipped by suffix (.txt)" in told
    work(cloud)
    run = the_run(cloud)
    assert (RunRecords(cloud.outputs).summary(run.id) or {}).get("listed") == 2
    chosen = said("label", photos, "--into", tmp_path / "out", "--no-wait", "--where", "*.txt")
    assert chosen.startswith("1 photo, ")
    assert "skipped" not in chosen
    for photo in photos.glob("*.jpg"):
        photo.unlink()
    with pytest.raises(Permanent, match=r"nothing to label in .* \(1 other file skipped by suffix \(\.txt\)\)"):
        said("label", photos, "--into", tmp_path / "out")
