"""What must hold when a torture run is over."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from botocore.exceptions import BotoCoreError, ClientError

from benchmarks.running.system import RunningSystem
from benchmarks.running.waiting import wait_for
from benchmarks.torture.account import UNREACHED, Account
from benchmarks.torture.busy_watch import BusyWatch
from shoal import ledger_file
from shoal.buckets.pending_photos import FOLDER as MARKS
from shoal.messages import is_job_key

RESULT_SECONDS = 240.0
GONE_SECONDS = 90.0


def settle(system: RunningSystem, account: Account) -> bool:
    """Wait until all work is done and the pool has shrunk; note what does not come. Returns whether it still runs."""
    if system.process.poll() is not None:
        account.complain(f"shoal up ended by itself: {system.text()[-1500:]}")
        return False
    chosen = system.settings
    waits: list[tuple[Callable[[], object], float, str]] = [
        (lambda: system.answers(), GONE_SECONDS, "the page does not answer"),
        (lambda: not _unanswered(system), RESULT_SECONDS, "photos have no result"),
        (lambda: not system.waiting(chosen.req_queue), GONE_SECONDS, "request messages are left"),
        (lambda: not system.machines(), GONE_SECONDS, "instances are left"),
        (lambda: not system.waiting(chosen.resp_queue), GONE_SECONDS, "response messages are left"),
        (lambda: not system.waiting(chosen.dead_queue), GONE_SECONDS, "dead letters are left"),
    ]
    for condition, seconds, what in waits:
        began = time.monotonic()
        try:
            wait_for(lambda c=condition: _safely(c), seconds, what, every_seconds=1.0)  # type: ignore[misc]
        except (TimeoutError, RuntimeError) as error:
            account.complain(f"{what} {time.monotonic() - began:.0f} s after the last trouble: {error}")
    return True


def _safely(condition: Callable[[], object]) -> object:
    try:
        return condition()
    except (OSError, BotoCoreError, ClientError):
        return False


def _unanswered(system: RunningSystem) -> set[str]:
    """Photos without a result. Those of a request that was never accepted have a mark, and no result either."""
    outputs = system.keys(system.settings.out_bucket)
    missing = _photos(system.keys(system.settings.in_bucket)) - outputs
    marked = {key.removeprefix(MARKS).partition("/")[0] for key in outputs if key.startswith(MARKS)}
    return {key for key in missing if key.partition("/")[0] not in marked}


def _result(system: RunningSystem, key: str) -> dict[str, Any]:
    body = system.client("s3").get_object(Bucket=system.settings.out_bucket, Key=key)["Body"].read()
    result: dict[str, Any] = json.loads(body)
    return result


def _is_excused(account: Account, key: str, unreached: set[str]) -> bool:
    return key in unreached or key.partition("/")[0] in account.cancelled


def _is_good(account: Account, key: str) -> bool:
    photo = account.of_name(key.rpartition("/")[2])
    return photo is not None and bool(photo.label)


def _photos(keys: set[str]) -> set[str]:
    return {key for key in keys if is_job_key(key)}


def inspect(system: RunningSystem, account: Account, busy: BusyWatch) -> None:
    """Compare what was accepted with the buckets and with what the page shows."""
    chosen = system.settings
    inputs, outputs = _photos(system.keys(chosen.in_bucket)), _photos(system.keys(chosen.out_bucket))
    results = {key: _result(system, key) for key in outputs}
    unreached = {key for key, result in results.items() if str(result.get("error")).startswith(UNREACHED)}
    # The photos of a cancelled batch that were not labelled are deleted; each has a result that says so.
    cancelled = {key for key in outputs - inputs if key.partition("/")[0] in account.cancelled}
    inputs |= cancelled
    for keys, what in (
        (account.accepted.keys() - inputs, "accepted photos are lost"),
        (account.accepted.keys() - outputs, "accepted photos have no result"),
        (
            {key for key in outputs - inputs if _is_good(account, key)} - unreached,
            "results of good photos have no photo",
        ),
    ):
        if keys:
            one = min(keys)
            account.complain(f"{len(keys)} {what}, for instance {one}, told as {account.told.get(one)}")
    for key, result in results.items():
        photo = account.of_name(key.rpartition("/")[2])
        account.count(f"results {result['status']}")
        if photo is None or result["key"] != key:
            account.complain(f"the result at {key} is of {result['key']}")
        elif photo.label and result["status"] == "done" and result["labels"][0]["name"] != photo.label:
            account.complain(f"{key} is labelled {result['labels'][0]['name']}, and it is {photo.label}")
        elif photo.label and result["status"] == "failed" and not _is_excused(account, key, unreached):
            account.complain(f"{key}, a good photo, failed: {result.get('error')}")
    account.count("photos stored", len(inputs - cancelled))
    account.count("photos cancelled", len(cancelled))
    account.count("photos accepted", len(account.accepted))
    account.count("photos of requests that were never accepted", len(inputs - outputs))
    _check_acts(system, account, busy)


def _check_acts(system: RunningSystem, account: Account, busy: BusyWatch) -> None:
    for entry in ledger_file.read(system.state_dir / ledger_file.NAME):
        for act in entry.done:
            if act.kind != "terminate":
                account.count(f"machines: {act.kind}", len(act.machines))
                continue
            for machine, words, was_busy in busy.told(act, entry.at):
                # Cron starts a killed worker again after a minute at most, and a drain is given half of one.
                killed = ", its worker was killed" if machine in account.killed else ""
                account.count(f"machines: terminate ({act.why}), {words}{killed}")
                if was_busy:
                    account.complain(f"the controller ended {machine} ({act.why}), which {words}")


def check_end(system: RunningSystem, account: Account, temporary: Path) -> None:
    """Stop the system; nothing of it may be left."""
    status = system.stop()
    if status != 0:
        account.complain(f"shoal up ended with status {status}: {system.text()[-1500:]}")
    try:
        wait_for(lambda: not system.processes(), GONE_SECONDS, "processes are left")
    except TimeoutError:
        account.complain(f"processes are left: {[_command(one) for one in system.processes()]}")
    left = sorted(str(one.relative_to(temporary)) for one in temporary.rglob("*"))
    if left:
        account.complain(f"{len(left)} temporary files are left, for instance {left[0]}")
    system.spawn()  # a lock that was left behind would stop it
    try:
        wait_for(system.answers, GONE_SECONDS, "the page did not answer")
    except (TimeoutError, RuntimeError) as error:
        account.complain(f"it does not start again: {error}")
    system.stop()


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return str(process)
