"""What every test shares."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser

from shoal.settings import read_env_file
from tests.aws_session import forget_session
from tests.web_screenshots import chromium

ROOT = Path(__file__).parent.parent
START_SECONDS = 60.0

# The machines that run these tests are shared and slow at times: a slow example is not a failure.
settings.register_profile("shoal", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=100)
settings.register_profile("thorough", settings.get_profile("shoal"), max_examples=2000)
settings.load_profile("shoal")

# A script's background job ignores SIGINT, `nohup` ignores SIGHUP, and children inherit that. Tests send both to
# their children. A handler is not inherited: each child begins with the default.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

LONGEST = "test_system_"
SLOWEST_FILES = 25

# Files that exist anyway, to lock. A test holds MACHINE shared, a test marked `alone` holds it exclusively. Both take
# it while they hold GATE, so that a test that waits to be alone is not overtaken for ever.
GATE, MACHINE = ROOT / "tests" / "conftest.py", ROOT / "tests" / "run.sh"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest files first, so that no worker ends long after the others. Files with tests that run alone come
    last: the others wait for such a test, and the tests that they are in then are short."""
    alone = {item.path for item in items if item.get_closest_marker("alone")}
    items.sort(key=lambda item: (item.path in alone, not item.path.name.startswith(LONGEST)))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test marked `alone` while the other workers of this run wait. Waiting counts in no timeout."""
    if not hasattr(item.config, "workerinput"):
        return (yield)
    how = fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH
    with GATE.open() as gate, MACHINE.open() as machine:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(machine, how)
        fcntl.flock(gate, fcntl.LOCK_UN)
        return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show where the time went, a line for each of the slowest files, when many files ran."""
    seconds: defaultdict[str, float] = defaultdict(float)
    tests: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in (one for one in reports if isinstance(one, pytest.TestReport)):
            file = report.nodeid.partition("::")[0]
            seconds[file] += report.duration
            tests[file] += report.when == "call"
    if len(seconds) > SLOWEST_FILES:
        terminalreporter.section(
            f"slowest {SLOWEST_FILES} of {len(seconds)} files, {sum(seconds.values()):.0f} s in all"
        )
        for file in sorted(seconds, key=seconds.__getitem__, reverse=True)[:SLOWEST_FILES]:
            terminalreporter.write_line(f"{seconds[file]:7.1f} s  {tests[file]:4} tests  {file}")


@pytest.fixture(autouse=True)
def _no_outer_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide a developer's own settings and credentials: they must not change what is tested, nor be used."""
    for name in list(os.environ):
        if name.startswith(("SHOAL_", "AWS_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def cloud_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables that point boto3 at an embedded cloud, which belongs to this test process."""
    state_dir = tmp_path_factory.mktemp("cloud")
    log = (state_dir / "log").open("wb")
    (state_dir / "image").mkdir()
    command = [sys.executable, "-m", "local_cloud", "--state-dir", str(state_dir), "--boot-seconds", "0.1"]
    command += ["--image", f"empty={state_dir / 'image'}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (variables := read_env_file(state_dir / "env")):
            assert process.poll() is None, (state_dir / "log").read_text()
            assert time.monotonic() < deadline, (state_dir / "log").read_text()
            threading.Event().wait(0.02)
        yield variables
    finally:
        process.terminate()
        process.wait(START_SECONDS)
        log.close()


@pytest.fixture
def embedded_cloud(cloud_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Point boto3 in this process at the embedded cloud until the test ends."""
    for name, value in cloud_environment.items():
        monkeypatch.setenv(name, value)
    forget_session(monkeypatch)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of a file."""
    with chromium() as running:
        yield running
