"""`python -m benchmarks.torture --minutes 10 --seed 1`: the whole system under load while everything fails.

Good, bad and hostile photos arrive by the page's form, by programs, by address and by upload forms. Meanwhile workers,
the controller, the web process and the emulators are killed, stopped and continued, the disk fills and empties, the
embedded cloud is hostile, and clients vanish. At the end each photo that was accepted must have exactly one result, the
right one; nobody may have been shown another's; nothing may be left over. Exits with status 1 if anything is wrong.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.running.small_disk import SmallDisk, small_disk
from benchmarks.running.system import PoolWatch, RunningSystem
from benchmarks.torture import clients, colours, verdict
from benchmarks.torture.account import Account
from benchmarks.torture.busy_watch import BusyWatch
from benchmarks.torture.trouble import Disturber
from local_cloud.hostile.dice import SCALE
from local_cloud.hostile.journal import JOURNAL_NAME, count

DISK_BYTES = 256 * 1024 * 1024
CAP = 3
CLIENTS = 8
TROUBLE_SECONDS = 3.0
# Seconds where the defaults are minutes, so that minutes hold many scale-outs, hung boots, lost messages and sweeps.
SETTINGS: Mapping[str, object] = {
    "ENGINE": colours.NAME,
    "PRECISION": "float32",
    "POLICY": "per_message",
    "MAX_INSTANCES": CAP,
    "VISIBILITY_SECONDS": 10,
    "SWEEP_SECONDS": 10,
    "BOOT_SECONDS": 30,
    "SILENT_SECONDS": 30,
    "CAPACITY_SECONDS": 180 * SCALE,
    "DRAIN_SECONDS": 30,
}

console = Console(highlight=False)


@contextmanager
def _place(folder: Path) -> Iterator[SmallDisk | None]:
    """A disk of its own at `folder`, or a plain folder where that takes a right that we lack."""
    try:
        with small_disk(folder, DISK_BYTES) as disk:
            yield disk
    except (subprocess.CalledProcessError, FileNotFoundError):
        console.print("no disk of its own can be mounted here, so none is filled")
        yield None


def torture(seed: int, minutes: float, folder: Path, rate: float = 1.0) -> Account:
    """One run in a folder of its own. rate: a factor on how often the embedded cloud fails by itself."""
    account, over, photos = Account(), threading.Event(), clients.PhotoServer()
    temporary, cache = folder / "tmp", folder / "cache"
    temporary.mkdir(parents=True)
    colours.prepare(cache)
    began = time.monotonic()
    with _place(folder / "disk") as disk:
        own = {"CACHE_DIR": cache, "FETCH_OWN": photos.place, "PRIVATE_DATA": "keep"}  # so that upload forms are on
        hostile = ["--hostile", str(seed), "--hostile-rate", str(rate)]
        system = RunningSystem(folder / "disk" / "state", hostile, **SETTINGS, **own)
        system.environment["TMPDIR"] = str(temporary)
        system.output = folder / "terminal.log"
        try:
            system.start()
            with PoolWatch(system) as watch, BusyWatch(system) as busy:
                _disturbed(system, account, seed, 60 * minutes, disk, photos, over)
                lives = verdict.settle(system, account)
            account.count(f"machines: most at a time, of {CAP} allowed", watch.most)
            if watch.most > CAP:
                account.complain(f"{watch.most} machines at a cap of {CAP}")
            if lives:
                verdict.inspect(system, account, busy)
            for kind, number in count(system.state_dir / "logs" / JOURNAL_NAME).items():
                account.count(f"hostile cloud: {kind}", number)
            if lives:
                verdict.check_end(system, account, temporary)
        finally:
            over.set()
            photos.stop()
            with suppress(OSError):  # the disk goes with the run
                shutil.copytree(system.state_dir / "logs", folder / "logs")
            if system.process.poll() is None:
                system.stop(signal.SIGKILL)
    account.count("seconds", round(time.monotonic() - began))
    if not account.accepted:
        account.complain("no photo was accepted: this run shows nothing")
    return account


def _disturbed(
    system: RunningSystem,
    account: Account,
    seed: int,
    seconds: float,
    disk: SmallDisk | None,
    photos: clients.PhotoServer,
    over: threading.Event,
) -> None:
    choice = random.Random(seed)
    trouble = Disturber(system, account, random.Random(choice.getrandbits(64)), disk, over.wait)
    troubling = threading.Thread(target=trouble.run, args=(seconds, TROUBLE_SECONDS))
    troubling.start()
    try:
        all_clients = clients.Clients(system, account, photos, over.wait)
        clients.send_all(all_clients, choice, seconds, CLIENTS, over)
    finally:
        troubling.join()


def show(account: Account, seed: int, minutes: float) -> None:
    """Print the account as a table, and what is wrong with how to repeat it."""
    table = Table("", f"seed {seed}", title=f"Torture, {minutes:g} minutes")
    for name, number in sorted(account.counts.items()):
        table.add_row(name, str(number))
    table.add_row("wrong", str(len(account.wrong) or "nothing"))
    console.print(table)
    for sentence in account.wrong:
        console.print(sentence, style="bold red", markup=False)
    if account.wrong:
        again = f"python -m benchmarks.torture --seed {seed} --minutes {minutes:g} --keep FOLDER"
        console.print(f"once more, with its logs kept: {again}", markup=False)


@click.command()
@click.option("--minutes", type=float, default=10.0, show_default=True, help="How long photos come in.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--rate", type=float, default=1.0, show_default=True, help="A factor on the faults of the hostile cloud.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep logs and state in this new folder.")
def main(minutes: float, seed: int, rate: float, keep: Path | None) -> None:
    """Torture a whole Shoal."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what it started is stopped
    folder = keep or Path(tempfile.mkdtemp(prefix="shoal-torture-"))
    try:
        account = torture(seed, minutes, folder, rate)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    show(account, seed, minutes)
    sys.exit(bool(account.wrong))


if __name__ == "__main__":
    main()
