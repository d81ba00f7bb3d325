"""SIGHUP: what becomes of each setting that changes while the controller runs."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Semaphore
from typing import Any

import pytest

import controller.__main__ as daemon_file
from controller.__main__ import Controller
from controller.ledger import Tick
from controller.metrics import Metrics
from controller.reconciler import Reconciler
from controller.rules import Rules
from shoal import aws, logs
from shoal.aws.clients import client
from shoal.clock import SystemClock
from shoal.lifecycle import StopSignal
from shoal.memory import memory_cloud
from shoal.ports import Cloud
from shoal.settings import SETTINGS, Setting, load, load_with_own_file, own_file
from shoal.state_folder.arrivals import tell_queued
from tests.controller_daemon import daemon, wait_for

# With a budget, a schedule, a provider of sign-ins and a policy with an option, each of their settings has an effect.
BASE = {
    "SHOAL_BUDGET_AMOUNT": "100",
    "SHOAL_SCHEDULE": "Mon 08:00-18:00 3",
    "SHOAL_POLICY": "tests.controller_fixtures:spare_policy",
    "SHOAL_OIDC_CLIENT_ID": "shoal",
    "SHOAL_OIDC_USERS": "*",
}
CHANGED = {
    "direct_uploads": "off",  # on needs another setting beside it
    "trusted_proxy": "10.0.0.1",
    "fetch_own": "127.0.0.1:9000",
    "budget_amount": "5",
    "env_file": "another.env",
    "lease_seconds": "11",
    "otlp_endpoint": "http://127.0.0.1:4318",
    "oidc_issuer": "https://sign-in.example",
    "policy": "step",
    "policy_options": "spare=3",
    "schedule": "Tue 08:00-18:00 3",
    "steps": "1:1",
    "time_zone": "Europe/Berlin",
    "webhook_secret": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
    "run_sources": "s3://photos/2026/",
    "run_targets": "s3://labels",
    "operator_secret": "0123456789abcdef",
}


def changed(one: Setting) -> str:
    """A valid value that is not the default."""
    if text := CHANGED.get(one.name):
        return text
    if one.choices:
        return next(choice for choice in one.choices if choice != one.default)
    if one.type in ("int", "float"):
        more, less = one.default + 1, one.default / 2
        value = more if one.most is None or more <= one.most else less
        return str(int(value) if one.type == "int" else value)
    return "other"


class Running:
    """A controller on a cloud in memory, with what its launches and its rules would be."""

    cloud: Cloud

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rules: list[Rules] = []
        self.levels: list[str] = []
        self._given: tuple[Any, ...] = ()
        monkeypatch.setattr(daemon_file, "connect", self._connect)
        monkeypatch.setattr(daemon_file, "region", lambda: "us-east-1")
        monkeypatch.setattr(Reconciler, "use", lambda _, rules: self.rules.append(rules))
        monkeypatch.setattr(logs, "configure", self.levels.append)
        for name, text in {**BASE, "SHOAL_STATE_DIR": str(folder)}.items():
            monkeypatch.setenv(name, text)
        self.controller = Controller(load_with_own_file(), dry_run=False)

    def _connect(self, *given: Any) -> Any:
        self._given = given
        self.cloud = memory_cloud(SystemClock())
        return self.cloud

    def boot_file(self) -> str:
        return str(self._given[1]())

    def max_instances(self) -> int:
        return int(self._given[2]())

    def reload(self, text: str) -> None:
        own_file().write_text(text)
        self.controller.reload()


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Running:
    return Running(tmp_path, monkeypatch)


@pytest.mark.parametrize("one", SETTINGS, ids=lambda one: one.name)
def test_each_setting_is_taken_or_goes_to_the_next_launch_or_is_refused(
    one: Setting, running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").touch()  # a file of weights
    running.reload("")
    rules, boot_file = running.rules[-1], running.boot_file()
    running.reload(f"{one.variable}={changed(one)}\n")
    if not one.reload:
        assert f"{one.variable} needs a restart" in caplog.text
        assert (running.rules, running.boot_file()) == ([rules], boot_file)
        return
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    assert len(running.rules) == 2
    # The controller gives busy workers the time in which they end by themselves.
    assert (running.rules[-1] != rules) == (one.group in ("pool", "budget") or one.name == "stall_seconds")
    assert (running.boot_file() != boot_file) == one.worker
    assert one.worker or running.rules[-1] != rules


def test_the_controllers_own_log_level_and_the_groups_maximum_are_taken(running: Running) -> None:
    running.reload("SHOAL_LOG_LEVEL=DEBUG\nSHOAL_MAX_INSTANCES=4\n")
    assert running.levels == ["DEBUG"]
    assert running.max_instances() == 4


def test_settings_are_refused_whole(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    before = running.boot_file()
    running.reload("SHOAL_MODEL=mobilenet_v2\nSHOAL_PREFIX=other\nSHOAL_WEB_THREADS=9\n")
    assert "SHOAL_PREFIX needs a restart; SHOAL_WEB_THREADS needs a restart of the web tier" in caplog.text
    running.reload("SHOAL_MODEL=mobilenet_v2\nSHOAL_MAX_INSTANCES=many\n")
    assert "SHOAL_MAX_INSTANCES='many': expected a whole number" in caplog.text
    assert (running.rules, running.boot_file()) == ([], before)


def user_data(prefix: str) -> list[str]:
    """The user data of the pool's instances, in the order of their launch."""
    filters = [{"Name": "tag:shoal:pool", "Values": [prefix]}]
    found = client("ec2").describe_instances(Filters=filters)["Reservations"]
    ordered = sorted((one for group in found for one in group["Instances"]), key=lambda one: one["LaunchTime"])
    texts = [client("ec2").describe_instance_attribute(InstanceId=one["InstanceId"], Attribute="userData")
             for one in ordered]  # fmt: skip
    return [base64.b64decode(text["UserData"]["Value"]).decode() for text in texts]


@pytest.mark.usefixtures("embedded_cloud")
def test_the_next_instance_gets_the_settings_that_a_reload_has_read(
    tmp_path: Path, cloud_environment: dict[str, str]
) -> None:
    aws.prepare(load({"SHOAL_PREFIX": "reload"}))
    with daemon(tmp_path, cloud_environment, PREFIX="reload", AMI="empty", MIN_INSTANCES=1) as running:
        wait_for(lambda: user_data("reload"), "no instance")
        assert "SHOAL_ANSWER_CACHE=1000\n" in user_data("reload")[0]
        running.reload("SHOAL_ANSWER_CACHE=7\nSHOAL_MIN_INSTANCES=2\n")
        wait_for(lambda: running.told("new instances get the new settings"), "no reload")
        wait_for(lambda: "SHOAL_ANSWER_CACHE=7\n" in user_data("reload")[-1], "the old settings")
        running.reload("SHOAL_MIN_INSTANCES=0\n")
        wait_for(lambda: running.told("settings read again: policy deadline, 0 to 15 instances"), "no second reload")
    assert [entry.ends for entry in running.entries][-2:] == [False, True]
    assert running.entries[0].begins


def test_an_idle_controller_ticks_when_photos_were_queued_on_its_machine(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = Semaphore(0)
    usual = Reconciler.tick
    seen: list[Tick | None] = []

    def tick(reconciler: Reconciler) -> Tick | None:
        seen.append(usual(reconciler))
        return seen[-1]

    def ticked(*_: object) -> None:
        ticks.release()

    monkeypatch.setattr(Reconciler, "tick", tick)
    monkeypatch.setattr(Metrics, "ticked", ticked)
    monkeypatch.setattr("controller.__main__.end_within", lambda: None)  # it would end this process, ten seconds later
    monkeypatch.setattr(running.controller, "_chosen", replace(load_with_own_file(), tick_seconds=3600.0))
    with StopSignal() as stop:

        def person() -> None:
            assert ticks.acquire(timeout=60)
            running.cloud.requests.send(["a photo"])
            tell_queued(tmp_path)
            assert ticks.acquire(timeout=60)
            tell_queued(tmp_path)  # it is busy now: its usual tick is soon enough
            stop.stop("test ends")

        with ThreadPoolExecutor(1) as people:
            told = people.submit(person)
            running.controller.run(stop)
            told.result()
    assert [one and one.observation.depth.total for one in seen] == [0, 1]
