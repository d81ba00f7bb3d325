"""What an instance may use: processors, their time, and memory."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from local_cloud.machines.limits import GroupsV1, GroupsV2, Limiter, find_groups
from local_cloud.machines.memory_watch import MemoryWatch
from tests.local_cloud_fixtures import CloudProcess, make_image, running_cloud

HOG = f"""#!/bin/sh
echo before
{sys.executable} -c "hog = b'x' * (600 << 20); print('grown', flush=True); import time; time.sleep(100)"
echo after
sleep 100
"""
# Two threads of C code for half a second: how many seconds of processor time do they get?
BUSY = f"""#!{sys.executable}
import hashlib, os, threading, time
end = time.monotonic() + 1.0
def work():
    while time.monotonic() < end:
        hashlib.sha256(bytes(1 << 20)).digest()
threads = [threading.Thread(target=work) for _ in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
used = os.times()
print("processors", len(os.sched_getaffinity(0)), "used", used.user + used.system, "s", flush=True)
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    folder = tmp_path_factory.mktemp("cloud")
    image = make_image(folder / "image")
    with running_cloud(folder / "state", "--image", f"base={image}", "--boot-seconds", "0") as cloud:
        yield cloud


def test_who_takes_more_memory_than_the_type_has_is_killed_and_the_instance_goes_on(cloud: CloudProcess) -> None:
    identifier = cloud.launch(HOG, InstanceType="t3.nano")
    console = cloud.wait_for_console(identifier, "out of memory")
    console = cloud.wait_for_console(identifier, "after\n")
    assert "512 MiB" in console
    assert cloud.state(identifier) == "running"
    cloud.terminate(identifier)


def test_an_instance_of_one_processor_gets_the_time_of_one(cloud: CloudProcess) -> None:
    identifier = cloud.launch(BUSY, InstanceType="t2.nano")
    words = cloud.wait_for_console(identifier, " s\n").split()
    assert words[1] == "1"
    assert float(words[3]) < 1.5
    cloud.terminate(identifier)


def groups_of(pid: int) -> set[str]:
    """The names of the control groups of a cloud, whatever the version: its own place and one for each instance."""
    places = [Path(folder) for folder, _, _ in os.walk("/sys/fs/cgroup") if Path(folder).name == f"local-cloud-{pid}"]
    return {path.name for place in places for path in (place, *place.iterdir()) if path.is_dir()}


def test_the_start_says_what_holds_and_neither_an_end_nor_a_kill_leaves_a_group(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running_cloud(state, "--image", f"base={make_image(tmp_path / 'image')}", "--boot-seconds", "0") as cloud:
        killed = cloud.process.pid
        assert cloud.process.stdout is not None
        enforced = "the kernel holds each instance" in cloud.process.stdout.readline()
        identifier = cloud.launch()
        cloud.wait_for(identifier, "running")
        assert (identifier in groups_of(killed)) == enforced
        cloud.process.kill()
    with running_cloud(state) as cloud:
        ended = cloud.process.pid
        assert groups_of(killed) == set()
        assert bool(groups_of(ended)) == enforced
    assert groups_of(ended) == set()


def test_without_control_groups_the_largest_process_is_killed() -> None:
    grow = "hog = b'x' * (200 << 20); print('grown', flush=True); import time; time.sleep(100)"
    tree = subprocess.Popen(
        ["sh", "-c", f'"{sys.executable}" -c "{grow}"; echo survived; sleep 100'], stdout=subprocess.PIPE, text=True
    )
    told: list[str] = []
    record = SimpleNamespace(id="i-1", memory_bytes=100 << 20)
    instance: Any = SimpleNamespace(init_pid=tree.pid, record=record, guest=SimpleNamespace(log=told.append))
    watch = MemoryWatch(Limiter(None))
    try:
        assert tree.stdout is not None
        assert tree.stdout.readline() == "grown\n"
        watch.look([instance])
        assert tree.stdout.readline() == "survived\n"
        watch.look([instance])
        assert len(told) == 1
        assert "out of memory" in told[0]
    finally:
        for pid in [*_children(tree.pid), tree.pid]:
            subprocess.run(["kill", "-9", str(pid)], check=True)
        tree.communicate()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_small_instances_spread_over_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {2, 3, 5, 7})
    limiter = Limiter(None)
    assert [limiter.of("i-1", 1, 1).cpus for _ in range(5)] == [(2,), (3,), (5,), (7,), (2,)]
    assert Limiter(None).of("i-1", 1, 4).cpus == ()
    assert Limiter(None).of("i-1", 1, 96).cpus == ()


def test_version_2_is_set_by_its_files(tmp_path: Path) -> None:
    # A folder stands for the file system of control groups, which a machine may not have: the words are the kernel's.
    groups = GroupsV2(tmp_path)
    assert groups.make("i-1", 512 << 20, 2) == (tmp_path / "i-1" / "cgroup.procs",)
    assert (tmp_path / "i-1" / "memory.max").read_text() == str(512 << 20)
    assert (tmp_path / "i-1" / "cpu.max").read_text() == "200000 100000"
    assert groups.killed("i-1") == 0
    (tmp_path / "i-1" / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\n")
    assert groups.killed("i-1") == 2
    assert groups.killed("i-2") == 0


def test_version_1_is_set_by_its_files(tmp_path: Path) -> None:
    groups = GroupsV1(tmp_path / "memory", tmp_path / "cpu")
    memory, cpu = groups.make("i-1", 512 << 20, 2)
    assert (memory.parent / "memory.limit_in_bytes").read_text() == str(512 << 20)
    assert (cpu.parent / "cpu.cfs_quota_us").read_text() == "200000"
    (memory.parent / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n")
    assert groups.killed("i-1") == 4


def test_where_no_group_can_be_made_there_is_none(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("0::/user.slice\n")
    (tmp_path / "mounts").mkdir()
    assert find_groups(tmp_path / "mounts", membership) is None
    (tmp_path / "mounts" / "cgroup.controllers").write_text("cpu memory\n")
    assert find_groups(tmp_path / "mounts", membership) is None
