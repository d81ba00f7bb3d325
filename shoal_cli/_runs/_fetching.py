"""Brings the results of a finished run to a folder of this machine."""

from __future__ import annotations

from pathlib import Path

from runs.finishing import Place
from runs.records import RunRecords
from runs.run import S3, Run
from shoal.errors import Permanent
from shoal.ports import Cloud


def target_folder(run: Run) -> Path | None:
    """The folder of this machine that its results are for; None when they go to a bucket."""
    return Path(run.target) if run.target and not run.target.startswith(S3) else None


def is_fetched(run: Run) -> bool:
    """Whether the results stand in the folder that they are for."""
    folder = target_folder(run)
    return folder is not None and (folder / f"summary-{run.id}.json").exists()


def fetch(cloud: Cloud, run: Run, folder: Path) -> list[Path]:
    """Write parts, failed rows and summary; returns the files. Raises Permanent while it is not finished."""
    if not RunRecords(cloud.outputs).summary(run.id):
        raise Permanent(f"run {run.id} is not finished: `shoal runs show {run.id}`")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, body in Place(run, cloud.outputs, cloud.buckets).files():
        path = folder / name
        path.write_bytes(body)
        written.append(path)
    return written
