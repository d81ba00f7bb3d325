"""What every test shares."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser

from shoal.aws import clients
from shoal.settings import read_env_file
from tests.web_screenshots import chromium

ROOT = Path(__file__).parent.parent
START_SECONDS = 60.0

# The machines that run these tests are shared and slow at times: a slow example is not a failure.
settings.register_profile("shoal", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=100)
settings.load_profile("shoal")

# A script's background job ignores SIGINT, `nohup` ignores SIGHUP, and children inherit that. Tests send both to
# their children. A handler is not inherited: each child begins with the default.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.fixture(autouse=True)
def _no_outer_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own settings and credentials shall not change what is tested, nor be used."""
    for name in list(os.environ):
        if name.startswith(("SHOAL_", "AWS_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def cloud_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables that point boto3 at an embedded cloud of this test run's own."""
    state_dir = tmp_path_factory.mktemp("cloud")
    log = (state_dir / "log").open("wb")
    (state_dir / "image").mkdir()
    command = [sys.executable, "-m", "local_cloud", "--state-dir", str(state_dir), "--boot-seconds", "0.1"]
    command += ["--image", f"empty={state_dir / 'image'}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (found := read_env_file(state_dir / "env")):
            assert process.poll() is None, (state_dir / "log").read_text()
            assert time.monotonic() < deadline, (state_dir / "log").read_text()
            threading.Event().wait(0.02)
        yield found
    finally:
        process.terminate()
        process.wait(START_SECONDS)
        log.close()


@pytest.fixture
def embedded_cloud(cloud_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 in this process talks to the embedded cloud for the length of the test."""
    for name, value in cloud_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(clients, "_session", None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of a file."""
    with chromium() as running:
        yield running
