"""Which signals stop a process, and that tests can send them to their children."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shoal import lifecycle
from shoal.errors import Permanent
from shoal.lifecycle import holder, keep_private, only_one

ROOT = Path(__file__).parent.parent
IGNORED = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGHUP, signal.SIG_IGN)"
WAIT = """
from shoal.lifecycle import StopSignal
with StopSignal() as stop:
    print("ready", flush=True)
    stop.wait()
    print(stop.reason)
"""
# The tier as it is, but for its settings: instead of reading them a thread dies, and the main thread never ends.
DOOMED = """
import importlib, threading
from shoal import settings

def dies():
    raise RecursionError("too deep")

def load():
    threading.Thread(target=dies, name="receive").start()
    threading.Event().wait()

settings.load = settings.load_with_env_file = settings.load_with_own_file = load
importlib.import_module(f"{tier}.__main__").main()
"""
PARENT = """
import subprocess, sys, tests.conftest
print(subprocess.run([sys.executable, "-c", "import signal as s; print(s.getsignal(s.SIGINT), s.getsignal(s.SIGHUP))"],
    capture_output=True, text=True, check=True).stdout)
"""


def test_the_children_of_tests_hear_ctrl_c_when_make_test_runs_in_the_background() -> None:
    told = subprocess.check_output([sys.executable, "-c", f"{IGNORED}\n{PARENT}"], cwd=ROOT, text=True)

    assert "SIG_IGN" not in told.upper()
    assert "default_int_handler" in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_each_of_the_three_signals_stops(number: signal.Signals) -> None:
    with waiting(WAIT) as process:
        process.send_signal(number)
        assert process.communicate(timeout=10)[0] == f"{number.name}\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_the_starter_ignored_stays_ignored_and_sigterm_stops(number: signal.Signals) -> None:
    with waiting(f"{IGNORED}\n{WAIT}") as process:
        process.send_signal(number)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=10)[0] == "SIGTERM\n"


@pytest.mark.parametrize("tier", ["app_tier", "controller", "web_tier"])
def test_a_thread_that_dies_ends_the_process_of_its_tier(tier: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"tier = {tier!r}\n{DOOMED}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "the thread 'receive' died" in done.stderr
    assert "starts it again" in done.stderr
    assert "RecursionError: too deep" in done.stderr


def test_a_thread_that_exits_by_itself_ends_nothing() -> None:
    script = f"""
import threading, sys
from shoal.lifecycle import end_when_a_thread_dies
end_when_a_thread_dies()
thread = threading.Thread(target=sys.exit)
thread.start()
thread.join()
{WAIT}
"""
    with waiting(script) as process:
        process.terminate()
        assert process.communicate(timeout=10)[0] == "SIGTERM\n"


def waiting(script: str) -> subprocess.Popen[str]:
    """A process that waits for its stop and then prints what stopped it."""
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_what_is_made_from_now_on_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        state = tmp_path / "state"
        state.mkdir(mode=0o755)
        keep_private(state)
        (state / "ledger.jsonl").touch()
        (state / "logs").mkdir()
        assert [stat.S_IMODE(path.stat().st_mode) for path in (state, state / "ledger.jsonl", state / "logs")] == [
            0o700, 0o600, 0o700,
        ]  # fmt: skip
        keep_private(tmp_path / "new" / "state")
        assert stat.S_IMODE((tmp_path / "new" / "state").stat().st_mode) == 0o700
        shared = tmp_path / "shared"
        shared.mkdir()
        shared.chmod(0o1777)
        keep_private(shared)
        assert stat.S_IMODE(shared.stat().st_mode) == 0o1777
    finally:
        os.umask(before)


def test_a_lock_that_has_just_been_taken_names_its_process_a_moment_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "controller.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        monkeypatch.setattr(time, "sleep", lambda _: lock.write_text("123\n"))
        assert holder(lock) == 123

        lock.write_text("")
        monkeypatch.setattr(time, "sleep", lambda _: None)
        monkeypatch.setattr(lifecycle, "MOMENT_SECONDS", 0.0)
        with pytest.raises(Permanent, match="does not say which process holds it"):
            holder(lock)


def test_who_only_looks_at_a_lock_keeps_nobody_from_taking_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "controller.lock"
    with lock.open("w") as looks:
        fcntl.flock(looks, fcntl.LOCK_SH)
        monkeypatch.setattr(time, "sleep", lambda _: fcntl.flock(looks, fcntl.LOCK_UN))
        with only_one(lock, "another runs"):
            assert holder(lock) == os.getpid()


def test_a_stranger_cannot_open_a_lock_and_hold_it(tmp_path: Path) -> None:
    with only_one(tmp_path / "state" / "up.lock", "another runs"):
        assert stat.S_IMODE((tmp_path / "state" / "up.lock").stat().st_mode) == 0o600
