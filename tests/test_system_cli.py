"""The command line as a user runs it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.running.system import ROOT, RunningSystem
from shoal.settings import read_env_file
from tests.waiting import wait_for

EXAMPLES = ROOT / "static" / "examples"


def shoal(system: RunningSystem, *arguments: str, seconds: float = 200.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shoal_cli", *arguments],
        cwd=ROOT, env=system.environment, capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip


def test_the_demo_labels_shows_the_pool_and_leaves_nothing(tmp_path: Path) -> None:
    system = RunningSystem(tmp_path / "state")
    done = shoal(system, "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    for name, label in json.loads((EXAMPLES / "labels.json").read_text()).items():
        assert f"{name}, {label}, " in done.stdout
    assert "launched 1" in done.stdout
    assert "asked 1 to leave" in done.stdout
    assert "the pool went from 0 workers to 1 and is empty now" in done.stdout
    assert re.search(r"The 100 more photos: [1-9]\d* images/s on this machine", done.stdout)
    why = shoal(system, "why", "--last", "5m").stdout
    assert "launched 1" in why
    assert "asked 1 to leave" in why
    wait_for(lambda: not system.processes(), 20, "processes are left")


def test_the_demo_uses_a_system_that_is_up(tmp_path: Path) -> None:
    system = RunningSystem(tmp_path / "state")
    system.start()
    try:
        done = shoal(system, "demo", str(EXAMPLES / "cat.jpg"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "using it" in done.stdout
        assert "cat.jpg, Egyptian_cat, " in done.stdout
        assert system.answers()
        prepared = shoal(system, "prepare")
        assert "shoal-req-queue" in prepared.stdout
        labelled = shoal(system, "classify", str(EXAMPLES / "cat.jpg"))
        assert "cat.jpg, Egyptian_cat " in labelled.stdout
        assert "backlog      0: 0 waiting, 0 in work, 0 delayed" in shoal(system, "status").stdout
        watched = shoal(system, "watch", "--once").stdout
        assert re.search(r"backlog +0: 0 waiting, 0 in work, 0 delayed\n", watched)
        assert re.search(r"workers +.* \(at most 15\)\n", watched)
        assert re.search(r"\d\d:\d\d:\d\d  .*launched 1", watched)
        assert "\x1b" not in watched
        into = tmp_path / "labels"
        shutil.copytree(EXAMPLES, tmp_path / "photos", ignore=shutil.ignore_patterns("small"))
        with Image.open(EXAMPLES / "cat.jpg") as image:
            exif = Image.Exif()
            exif.get_ifd(0x8769)[0x9003] = "2026:07:01 12:30:59"
            image.reduce(2).save(tmp_path / "photos" / "small cat.jpg", exif=exif)
        label = ("label", str(tmp_path / "photos"), "--into", str(into), "--where", "*.jpg", "--not-if-done", "--hash",
                 "--exif", "gps,time")  # fmt: skip
        bulk = shoal(system, *label)
        assert bulk.returncode == 0, bulk.stdout + bulk.stderr
        [run] = bulk.stdout.split()
        rows = [json.loads(line) for line in (into / f"labels-{run}-00000.jsonl").read_text().splitlines()]
        assert [row["key"] for row in rows] == sorted(path.name for path in (tmp_path / "photos").glob("*.jpg"))
        assert {row["key"]: row.get("taken") for row in rows if "taken" in row} == {
            "small cat.jpg": "2026-07-01T12:30:59"
        }
        near = shoal(system, "runs", "duplicates", run, "--json").stdout.splitlines()
        assert [json.loads(group) for group in near] == [["cat.jpg", "small cat.jpg"]]
        assert {row["key"]: row["labels"][0]["name"] for row in rows}["cat.jpg"] == "Egyptian_cat"
        assert "Nothing is new or changed." in shoal(system, *label).stderr
        assert f"{run}  done: {len(rows)} of {len(rows)} photos, none failed" in shoal(system, "runs").stdout
        assert "is finished" in shoal(system, "runs", "pause", run).stderr
        walks_through_a_bulk_run(system, tmp_path / "walk")
        told = json.loads(shoal(system, "status", "--json").stdout)
        assert (told["up"], told["dead_letters"], told["bulk"]["visible"]) == (True, 0, 0)
        assert shoal(system, "dlq", "redrive").stdout == "0 messages sent to the request queue again\n"
        [batch] = re.findall(r"/batches/(\w+)", labelled.stderr + labelled.stdout)[:1]
        backup = tmp_path / "backup.tar.gz"
        assert shoal(system, "backup", str(backup)).returncode == 0
        down = shoal(system, "down")
        assert (down.returncode, down.stdout) == (0, "Stopped.\n")
        assert down.stderr.startswith("Stopping: photos in work are finished or given back.")  # a stop takes seconds
        assert shoal(system, "down").returncode == 1
        wait_for(lambda: not system.processes(), 20, "processes are left")
    finally:
        assert system.stop() == 0
    goes_on_elsewhere(backup, batch, tmp_path / "second")


def walks_through_a_bulk_run(system: RunningSystem, folder: Path) -> None:
    """What docs/bulk.md shows, with fewer photos: on a fast machine the run may be over before it is paused."""
    walk = ("demo", "bulk", "--into", str(folder), "--count", "40")
    done = shoal(system, *walk, seconds=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((folder / "photos").iterdir())) == 60
    assert re.search(r"done: 40 of 40 photos, none failed.*done: 20 of 20 photos, none failed", told(done), re.DOTALL)
    assert f"60 photos in {folder / 'labels.parquet'}\n" in done.stdout
    assert len({task["data"]["key"] for task in json.loads((folder / "tasks.json").read_text())}) == 60
    for table in (r"espresso +(\d+)\n", r"│ espresso +│ +(\d+) │"):  # of pandas, of DuckDB
        found = re.search(table, done.stdout)
        assert found, done.stdout
        assert int(found[1]) > 4  # of 7 or 8 parts of that photo
    assert "is there already" in shoal(system, *walk).stderr


def told(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def goes_on_elsewhere(backup: Path, batch: str, state: Path) -> None:
    """What was backed up while Shoal ran, and was restored into another folder, labels on."""
    second = RunningSystem(state)
    assert shoal(second, "restore", str(backup)).returncode == 0
    second.start()
    try:
        url = ("--url", second.address)
        assert "Egyptian_cat" in shoal(second, "results", batch, *url).stdout
        assert "cat.jpg, Egyptian_cat " in shoal(second, "classify", str(EXAMPLES / "cat.jpg"), *url).stdout
    finally:
        assert second.stop() == 0


def test_a_demo_that_cannot_start_says_why(tmp_path: Path) -> None:
    done = shoal(RunningSystem(tmp_path / "state", MAX_INSTANCES="many"), "demo")
    assert done.returncode == 1
    assert done.stderr.strip().startswith("shoal: SHOAL_MAX_INSTANCES='many'")


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"POLICY": "fast"}, "'fast' is not one of the policies"),
        (
            {"VENUES": "locl"},
            "'locl' is not one of the venues: local, pool, split (or module:attribute). Did you mean local?",
        ),
    ],
)
def test_a_name_that_is_none_is_told_before_anything_starts(tmp_path: Path, setting: dict[str, str], told: str) -> None:
    system = RunningSystem(tmp_path / "state")
    system.environment |= {f"SHOAL_{name}": value for name, value in setting.items()}
    done = shoal(system, "up")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"shoal: {told}")
    assert not (tmp_path / "state").exists()


def test_help_names_every_command(tmp_path: Path) -> None:
    text = shoal(RunningSystem(tmp_path / "state"), "--help").stdout
    assert all(f"\n  {name} " in text for name in ("demo", "models", "prepare", "up", "why"))


def test_an_upgrade_replaces_the_workers_and_loses_no_photo(tmp_path: Path) -> None:
    system = RunningSystem(tmp_path / "state", MIN_INSTANCES=2, MAX_INSTANCES=4)
    system.start()
    try:
        wait_for(lambda: len(system.workers()) == 2, 60, system.text)
        ec2 = system.client("ec2")
        [first] = {one["ImageId"] for one in system.machines()}
        second = ec2.copy_image(SourceImageId=first, SourceRegion="us-east-1", Name="shoal-worker-2")["ImageId"]
        ec2.get_waiter("image_available").wait(ImageIds=[second], WaiterConfig={"Delay": 1})
        ec2.create_tags(Resources=[second], Tags=[{"Key": "shoal:image", "Value": "shoal-worker"}])

        environment = system.environment | read_env_file(system.state_dir / "env")
        classify = [sys.executable, "-m", "shoal_cli", "classify", *[str(EXAMPLES / "cat.jpg")] * 150]
        with subprocess.Popen(classify, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as sent:
            for words, image in ((), second), (("--back",), first):
                upgrade = [sys.executable, "-m", "shoal_cli", "upgrade", *words, "--pause", "0.2"]
                done = subprocess.run(upgrade, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stdout + done.stderr + system.text()
                assert re.search(r"[2-9] of others have left", done.stdout)
                wait_for(lambda: len(system.machines()) >= 2, 60, system.text)
                assert {one["ImageId"] for one in system.machines()} == {image}
            labelled, _ = sent.communicate(timeout=200)
        assert labelled.count("Egyptian_cat") == 150
    finally:
        assert system.stop() == 0
