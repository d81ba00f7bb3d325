"""`shoal demo bulk`: a bulk run from its photos to a table, by the commands that a person would type."""

from __future__ import annotations

import importlib.util
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from runs.progress import ProgressReader
from runs.records import RunRecords
from shoal import settings
from shoal.aws import connect_to_running
from shoal.errors import Retryable, ShoalError
from shoal.messages import is_batch
from shoal_cli._processes import CODE, PYTHON
from shoal_cli._runs._example_photos import make_photos
from shoal_cli._runs._following import ENDED

MORE = 20  # photos that are added
FIRST_SECONDS = 180.0  # until the first labels: a worker starts
END_SECONDS = 900.0
LOOK_SECONDS = 0.1
TABLE = "labels.parquet"
READERS = {
    "pandas": 'import pandas; print(pandas.read_parquet("labels.parquet").label.value_counts().head())',
    "duckdb": (
        'import duckdb; print(duckdb.sql("""select label, count(*) as photos from "labels.parquet" '
        'group by label order by photos desc, label limit 5"""))'
    ),
}

console = Console(highlight=False)


def walk(examples: Sequence[Path], folder: Path, count: int) -> None:
    """Label, interrupt, resume, add photos, label those, and export. Raises ShoalError when a command fails."""
    photos, labels = folder / "photos", folder / "labels"
    make_photos(examples, photos, 0, count)
    _say(f"{count} photos, parts of the examples, are in {photos}. All of them are labelled, until a Ctrl-C:")
    label = ("label", str(photos), "--into", str(labels))
    run = _interrupted(label)
    _say("\nThe run goes on without the command. It can rest, and go on later, from any machine:")
    # On a fast machine all are labelled before the one command or the other.
    rested = _shoal("runs", "pause", run, may_fail=True) and _shoal("runs", "show", run)
    if not rested or not _shoal("runs", "resume", run, may_fail=True):
        _say("It was faster than that.")
    _until(run, lambda state, _: state in ENDED, END_SECONDS)
    _shoal("runs", "show", run)
    _shoal("runs", "fetch", run)
    make_photos(examples, photos, count, MORE)
    _say(f"\n{MORE} photos are added. The same command labels these alone:")
    _shoal(*label, "--not-if-done")
    _say("\nBoth runs together, for other tools:")
    _shoal("export", str(labels), "--to", "label-studio", "--out", str(folder / "tasks.json"))
    _shoal("export", str(labels), "--to", "parquet", "--out", str(folder / TABLE))
    _read(folder)


def _say(words: str) -> None:
    console.print(words, markup=False, soft_wrap=True)


def _told(*words: str) -> None:
    console.print(f"\n$ {shlex.join(words)}", style="bold", markup=False, soft_wrap=True)
    sys.stdout.flush()


def _shoal(*words: str, may_fail: bool = False) -> bool:
    """Run a command, whose output is shown. Returns whether it went well."""
    _told("shoal", *words)
    status = subprocess.run([*PYTHON, "-m", "shoal_cli", *words], env=os.environ | CODE, check=False).returncode
    if status and not may_fail:
        raise ShoalError(f"shoal {words[0]} ended with {status}")
    return status == 0


def _interrupted(words: Sequence[str]) -> str:
    """Begin a run, and interrupt the command as a Ctrl-C does when the first photos are labelled. Returns its id."""
    _told("shoal", *words)
    command = [*PYTHON, "-m", "shoal_cli", *words]
    with subprocess.Popen(command, env=os.environ | CODE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        run = process.stdout.readline().strip()
        if not is_batch(run):
            raise ShoalError("no run was begun")
        _say(run)
        _until(run, lambda state, done: done > 0 or state in ENDED, FIRST_SECONDS)
        process.send_signal(signal.SIGINT)
    return run


def _until(run: str, ended: Callable[[str, int], bool], seconds: float) -> None:
    """Wait until a run's state, and how many photos are done, are as asked. Raises ShoalError after so many seconds."""
    records = RunRecords(connect_to_running(settings.load_with_env_file()).outputs)
    reader = ProgressReader(records, records.run(run))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            look = reader.look()
            if ended(look.state, look.done):
                return
        except Retryable as error:
            _say(str(error))
        time.sleep(LOOK_SECONDS)
    raise ShoalError(f"run {run} does not get on: `shoal runs show {run}`, `shoal status`")


def _read(folder: Path) -> None:
    """Open the table with pandas and DuckDB where they are installed; else say how."""
    _say(f"\nThe table, in {folder}:")
    for package, program in READERS.items():
        _told("python", "-c", program)
        if importlib.util.find_spec(package):
            subprocess.run([sys.executable, "-c", program], cwd=folder, check=True)
        else:
            _say(f"({package} is not installed here: pip install {package})")
