"""`shoal serve` beside the servers that people put in front of a model: LitServe, BentoML, Flask under gunicorn.

All have the same engine, model file and arithmetic, and the same client on the same cores.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import http_client, rounds
from benchmarks.peers.environment import install
from benchmarks.running.ports import free_port
from benchmarks.running.processes import running
from benchmarks.running.waiting import wait_for

PACKAGES = ("litserve==0.2.19", "bentoml==1.4.40", "gunicorn==27.0.1")
CLIENTS = 32
WARM_UP_PHOTOS = 64
TRIAL_PHOTOS = 150
START_SECONDS = 90.0


@dataclass(frozen=True)
class PeerServer:
    """A way to run a server of others.

    threads: of a worker, that label. batch: the most photos in a call of the engine. engine_threads: of each engine; 0
    lets it choose.
    """

    name: str
    workers: int
    threads: int
    batch: int
    engine_threads: int

    def __str__(self) -> str:
        parts = f"workers {self.workers}, threads {self.threads}, batch {self.batch}"
        return f"{self.name}: {parts}, engine threads {self.engine_threads or 'automatic'}"

    @property
    def door(self) -> tuple[str, str]:
        """The path that takes a photo, and how it is sent, see `http_client.body_of`."""
        if self.name == "LitServe":
            return "/label", "json:photo"
        if self.name == "BentoML":
            return ("/several", "photos") if self.batch > 1 else ("/one", "")
        return "/label", ""

    def command(self, python: Path, port: int) -> list[str]:
        """What starts it."""
        if self.name == "LitServe":
            return [*_module(python, "benchmarks.peers.litserve_peer"), str(port), str(self.workers), str(self.batch)]
        if self.name == "BentoML":
            serve = [*_module(python, "bentoml"), "serve", "benchmarks.peers.bentoml_peer:Labeller"]
            return [*serve, "--port", str(port), "--host", "127.0.0.1"]
        size = ["--workers", str(self.workers), "--threads", str(self.threads), "--worker-class", "gthread"]
        serve = [*_module(python, "gunicorn"), "benchmarks.peers.gunicorn_peer:app", "--bind", f"127.0.0.1:{port}"]
        return [*serve, *size, "--keep-alive", "60", "--log-level", "error"]

    @property
    def environment(self) -> dict[str, str]:
        """What its processes read."""
        sizes = {"PEER_WORKERS": str(self.workers), "PEER_THREADS": str(self.threads)}
        return {"PEER_ENGINE_THREADS": str(self.engine_threads), "BENTOML_DO_NOT_TRACK": "True", **sizes}


SET_UPS = (
    PeerServer("gunicorn", 1, 4, 1, 0),
    PeerServer("gunicorn", 2, 2, 1, 1),
    PeerServer("gunicorn", 3, 2, 1, 1),
    PeerServer("LitServe", 1, 1, 8, 0),
    PeerServer("LitServe", 2, 1, 1, 1),
    PeerServer("LitServe", 2, 1, 8, 1),
    PeerServer("BentoML", 1, 4, 1, 0),
    PeerServer("BentoML", 2, 2, 1, 1),
    PeerServer("BentoML", 1, 1, 8, 0),
)
NAMES = ("gunicorn", "LitServe", "BentoML")


def best(cache_dir: Path, photos: Path, folder: Path) -> tuple[dict[PeerServer, float], list[PeerServer]]:
    """Try each set-up with a round. Returns images/s of each, and the best one of each name."""
    tried = {one: measure(cache_dir, one, photos, TRIAL_PHOTOS, folder) for one in SET_UPS}
    return tried, [max((one for one in tried if one.name == name), key=lambda one: tried[one]) for name in NAMES]


def measure(cache_dir: Path, peer: PeerServer, photos: Path, count: int, folder: Path) -> float:
    """Images/s of a peer that is started for it and warmed up: LitServe takes processor time also while it is idle."""
    python, port = install(cache_dir, PACKAGES), free_port()
    with running(peer.command(python, port), peer.environment, folder / f"{peer.name}.log", group=True) as server:
        wait_until_up(port, server)
        with client(port, *peer.door, CLIENTS, photos, folder) as started:
            rounds.play(started, WARM_UP_PHOTOS)
            return rounds.play(started, count)


@contextmanager
def client(
    port: int, path: str, field: str, clients: int, photos: Path, folder: Path
) -> Iterator[subprocess.Popen[str]]:
    """A process that plays rounds, see `http_client`."""
    command = [sys.executable, "-m", "benchmarks.peers.http_client", str(photos), str(port), path, field or "-"]
    with running([*command, str(clients)], {}, folder / "client.log", subprocess.PIPE) as started:
        yield started


def wait_until_up(port: int, server: subprocess.Popen[str]) -> None:
    """Wait until the server answers anything. Raises RuntimeError when it has ended, TimeoutError."""

    def answers() -> bool:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with {server.returncode}: {server.args!r}")
        line = http_client.connect(port)
        try:
            line.request("GET", "/")
            line.getresponse().read()
        except OSError:
            return False
        finally:
            line.close()
        return True

    wait_for(answers, START_SECONDS, "the server does not answer")


def _module(python: Path, name: str) -> Sequence[str]:
    return [str(python), "-m", name]
