"""`shoal label` and `shoal runs` on the cloud in memory: what they refuse, what they say, and where results go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from runs.handling import Handling
from runs.manifest import BulkPhoto
from runs.orders import read_order
from runs.progress import ProgressReader, RunProgress
from runs.records import RunRecords
from runs.rows import BulkRow
from runs.run import Run
from runs.sampling import SampleSource
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


class Counting:
    """Photos 0, 1, 2 ... of so many bytes."""

    def __init__(self, count: int) -> None:
        self.count = count

    def entries(self, after: str) -> Iterator[tuple[str, BulkPhoto]]:
        for number in range(int(after) + 1 if after else 0, self.count):
            yield f"{number:06d}", BulkPhoto(f"{number:06d}", "e", number)


def test_a_sample_is_random_the_same_each_time_in_order_and_of_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(seed: str, count: int = 10, of: int = 1000) -> list[int]:
        return [
            int(one) for one, _ in SampleSource(Counting(of), count, lambda one: one.size % 2 == 0, seed).entries("")
        ]

    assert drawn("a") == drawn("a") == sorted(drawn("a")) != drawn("b")
    assert all(number % 2 == 0 for number in drawn("a"))
    assert drawn("a", of=6) == [0, 2, 4]
    hits = Counter(number for seed in range(400) for number in drawn(str(seed), 5, 20))
    assert sorted(hits) == list(range(0, 20, 2))
    assert min(hits.values()) > 150  # of 200 expected
    monkeypatch.setattr("runs.sampling.DRAWN_FROM", 100)
    source = SampleSource(Counting(1000), 3, lambda _: True)
    [first, second, third] = [cursor for cursor, _ in source.entries("")]
    assert [cursor for cursor, _ in source.entries(first)] == [second, third]
    assert (source.images, source.size, source.more) == (100, sum(range(100)), True)
    assert int(third) < 100


def test_a_sample_is_labelled_first_and_says_what_the_others_take(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        cloud.buckets["photos"].put(f"in/{number:02d}.jpg", b"." * (number + 1), "image/jpeg")

    def worked(_: Cloud, run: Run, step: Callable[[], object]) -> RunProgress:
        step()
        work(cloud)
        return ProgressReader(RunRecords(cloud.outputs), run).look()

    def rows(run: str) -> list[BulkRow]:
        found = cloud.buckets["labels"].get(f"run/labels-{run}-00000.jsonl")
        return [BulkRow.from_line(line) for line in found.splitlines()]

    monkeypatch.setattr(labelling, "follow", worked)
    asked = ("label", "s3://photos/in/", "--into", "s3://labels/run", "--sample", 21)
    told = said(*asked)
    [first] = RunRecords(cloud.outputs).ids()
    failed = sum(row.failed for row in rows(first))
    assert f"\nOf the sample {failed} of 21 photos failed (" in told
    assert "The others: 39 photos, 0.0 MB: about " in told
    assert "The same command with --not-if-done in place of --sample labels the others." in told
    sample = {row.entry.key for row in rows(first)}
    assert len(sample) == 21

    assert "The same command" not in said(*asked, "--yes")
    _, again, rest = RunRecords(cloud.outputs).ids()
    assert {row.entry.key for row in rows(again)} == sample  # the same photos
    others = {row.entry.key for row in rows(rest)}
    labelled = {row.entry.key for row in rows(first) if not row.failed}
    assert len(others | labelled) == 60  # those of the sample that failed are tried again
    assert not others & labelled
    assert "Nothing is new" not in said(*asked, "--not-if-done", "--limit", 25, "--yes")  # those that failed
    assert said("label", "s3://photos/in/", "--into", "s3://labels/run", "--limit", 5, "--sample", 9, "--no-wait")
    *_, whole = RunRecords(cloud.outputs).ids()
    assert RunRecords(cloud.outputs).run(whole).sample == 0  # no more photos than the sample has
