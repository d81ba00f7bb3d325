"""Which signals stop a process, and that tests can send them to their children."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
IGNORED = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGHUP, signal.SIG_IGN)"
WAIT = """
from shoal.lifecycle import StopSignal
with StopSignal() as stop:
    print("ready", flush=True)
    stop.wait()
    print(stop.reason)
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


def waiting(script: str) -> subprocess.Popen[str]:
    """A process that waits for its stop and then prints what stopped it."""
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process
