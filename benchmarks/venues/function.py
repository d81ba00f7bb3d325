"""The Lambda function's handler in a process of its own, on the embedded S3 and DynamoDB.

`python -m benchmarks.venues.function KEY...` is that process: it handles an event for each key, and prints the seconds.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.running.processes import client_of, embedded_cloud, prepare, running
from shoal.aws.label_tables import create_tables
from shoal.messages import Result
from shoal.prices import PROCESSOR_MB
from shoal.settings import load


@dataclass(frozen=True)
class HandlerRun:
    """cold: seconds from the start of the process to its first answer. added: the median of what the handler takes
    besides decoding and inference. peak: the most memory that it held, in bytes. processor: its seconds of processor
    time for a warm event, on average."""

    cold: float
    added: float
    peak: int
    processor: float

    def billed(self, memory_mb: int) -> float:
        """Seconds of a warm event with so much memory, modelled: Lambda gives a share of a processor with it.

        A photo alone keeps one processor busy, so more than one is no faster.
        """
        return self.processor * max(1.0, PROCESSOR_MB / memory_mb)


def measure(payloads: Sequence[bytes], folder: Path, times: int) -> list[HandlerRun]:
    """Start the handler `times` times, each on all photos under new names, one event after another.

    A name that was labelled before is another matter: its old labels are looked up and replaced, with three more calls.
    """
    folder.mkdir()
    with embedded_cloud(folder) as cloud:
        prepare(cloud, folder / "prepare.log")
        chosen = load(dict(cloud))
        s3 = client_of(cloud, "s3")
        create_tables(client_of(cloud, "dynamodb"), chosen.images_table, chosen.labels_table)
        runs = []
        for turn in range(times):
            keys = [f"{chosen.lambda_prefix}{turn}/{number:03d}.jpg" for number in range(len(payloads))]
            for key, payload in zip(keys, payloads, strict=True):
                s3.put_object(Bucket=chosen.in_bucket, Key=key, Body=payload)
            runs.append(_run(cloud, chosen.out_bucket, keys, s3, folder / "handler.log"))
        return runs


def _run(cloud: Mapping[str, str], bucket: str, keys: Sequence[str], s3: Any, log: Path) -> HandlerRun:
    command = [sys.executable, "-m", "benchmarks.venues.function", *keys]
    with running(command, cloud, log, subprocess.PIPE) as process:
        assert process.stdout
        told = json.loads(process.stdout.readline() or "null")
    if told is None:
        raise RuntimeError(f"the handler ended: {log.read_text()[-2000:]}")
    added = []
    for key, seconds in zip(keys[1:], told["seconds"][1:], strict=True):
        result = Result.from_json(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        added.append(seconds - result.seconds["decode"] - result.seconds["infer"])
    return HandlerRun(told["cold"], statistics.median(added), told["peak"], told["processor"])


def _event(bucket: str, key: str) -> dict[str, Any]:
    described = {"key": key, "sequencer": f"{time.time_ns():024x}"}
    record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": bucket}}}
    record["s3"]["object"] = described  # type: ignore[index]
    return {"Records": [record]}


def main() -> None:
    """Handle an event for each key, and tell what it took."""
    from app_tier.lambda_handler import handler  # its import is a part of the cold start

    bucket, seconds, cold, spent = load().in_bucket, [], 0.0, 0.0
    for key in sys.argv[1:]:
        began = time.perf_counter()
        handler(_event(bucket, key), None)
        seconds.append(time.perf_counter() - began)
        cold = cold or time.time() - psutil.Process().create_time()
        spent = spent or time.process_time()  # until the first answer
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    processor = (time.process_time() - spent) / max(1, len(seconds) - 1)
    print(json.dumps({"cold": cold, "seconds": seconds, "peak": peak, "processor": processor}), flush=True)


if __name__ == "__main__":
    main()
