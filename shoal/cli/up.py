"""`shoal up`: the whole system on this machine, on an embedded cloud, until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from inference import store
from shoal import settings
from shoal.cli._processes import Child, pump, wait_until
from shoal.errors import NotFound, SettingsError, ShoalError
from shoal.lifecycle import StopSignal, only_one

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 15.0
MAX_RESTARTS = 5  # within RESTART_WINDOW_SECONDS: a part that dies at once, again and again, cannot be helped
RESTART_WINDOW_SECONDS = 60.0
COLOURS = {"controller": "cyan", "web": "magenta", "cloud": "yellow"}

console = Console(highlight=False)


@click.command()
def command() -> None:
    """Start the system on this machine and serve until Ctrl-C."""
    chosen = settings.load()
    otherwise = f"Shoal already runs in {chosen.state_dir}: stop it, or set SHOAL_STATE_DIR and SHOAL_PORT"
    with only_one(chosen.state_dir / "up.lock", otherwise), StopSignal() as stop:
        _check_port(chosen.host, chosen.port)
        prepare_model(chosen)
        if not stop.stopping:
            with contextlib.closing(System(chosen)) as system:
                system.start(stop)
                system.supervise(stop)


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {host}:{port} ({error.strerror}): stop what uses it, or set SHOAL_PORT"
            ) from error


def prepare_model(chosen: settings.Settings) -> None:
    """Get, verify and convert the model unless that is done. In a process of its own: TensorFlow is heavy."""
    with contextlib.suppress(NotFound):
        found = store.find(chosen.model, chosen.engine, chosen.cache_dir, chosen.model_weights)
        if found.notice:
            console.print(f"[bold yellow]Notice:[/] {found.notice}")
        return
    console.print(f"[bold]Preparing the model[/bold] {chosen.model} (first start only)")
    done = subprocess.run([sys.executable, "-m", "shoal.cli", "models", "prepare"], cwd=ROOT, check=False)
    if done.returncode:
        raise ShoalError("the model could not be prepared (see above)")


def answers(address: str) -> bool:
    """Whether a web tier answers at `address`, for instance http://127.0.0.1:8000."""
    try:
        with urllib.request.urlopen(f"{address}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


class System:
    """The embedded cloud, the controller and the web tier as processes."""

    def __init__(self, chosen: settings.Settings) -> None:
        self._settings = chosen
        self._state = chosen.state_dir.absolute()
        # The same settings for all, whatever folder they start in; no leftovers of another cloud.
        self._environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
        self._environment |= {"SHOAL_STATE_DIR": str(self._state), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        self._children: list[Child] = []
        self._restarts: list[float] = []
        self._last_words: dict[str, str] = {}

    @property
    def address(self) -> str:
        """The page's address."""
        return f"http://{self._settings.host}:{self._settings.port}"

    def start(self, stop: StopSignal) -> None:
        """Start everything; returns when the page answers. Raises ShoalError that names the log to read."""
        began = time.monotonic()
        self._start_cloud()
        if not stop.stopping:
            self._start_tiers()
        if not stop.stopping:
            console.print(f"\n  [bold green]Shoal is ready[/bold green] after {time.monotonic() - began:.1f} s")
            console.print(f"  Open [bold]{self.address}[/bold] and drop photos on the page. Ctrl-C stops it.\n")

    def _start_cloud(self) -> None:
        image = self._state / "image"
        shutil.rmtree(image, ignore_errors=True)
        image.mkdir(parents=True)
        subprocess.run(
            [ROOT / "ami" / "install", image, sys.executable, self._settings.cache_dir.absolute()], check=True
        )
        env_file = self._state / "env"
        env_file.unlink(missing_ok=True)
        boot = str(self._settings.local_boot_seconds)
        arguments = ["--state-dir", str(self._state), "--boot-seconds", boot]
        arguments += ["--image", f"{self._settings.image}={image}"]
        cloud = self._spawn("cloud", "-m", "local_cloud", *arguments)
        self._wait_for(cloud, env_file.exists)
        self._environment |= settings.read_env_file(env_file)
        os.environ.update(settings.read_env_file(env_file))
        from shoal.aws import prepare

        prepare(self._settings)

    def _start_tiers(self) -> None:
        self._spawn("controller", str(ROOT / "controller.py"))
        web = self._spawn("web", "-m", "web_tier")
        self._wait_for(web, lambda: answers(self.address))

    def _spawn(self, name: str, *arguments: str) -> Child:
        child = Child(name, [sys.executable, *arguments], self._state / "logs" / f"{name}.log", self._environment)
        child.start()
        self._children.append(child)
        return child

    def _wait_for(self, child: Child, ready: Callable[[], bool]) -> None:
        if not wait_until(ready, self._children, START_SECONDS, self._show):
            raise ShoalError(f"the {child.name} did not start: {self._words_of(child)}")

    def _show(self, child: Child, line: str) -> None:
        self._last_words[child.name] = line
        if line.strip():
            console.print(f"[{COLOURS[child.name]}]{child.name:>10}[/] │ ", end="")
            console.print(line, markup=False, soft_wrap=True)

    def _words_of(self, child: Child) -> str:
        for line in child.read_lines():
            self._show(child, line)
        return f"{self._last_words.get(child.name, 'it said nothing')} (all of it: {child.log})"

    def supervise(self, stop: StopSignal) -> None:
        """Until the stop: pass on what the parts say, start again what crashed. The cloud's end is the end."""
        while not stop.stopping:
            pump(self._children, 0.2, self._show)
            for child in self._children:
                if child.status is not None and not stop.stopping:
                    self._revive(child)

    def _revive(self, child: Child) -> None:
        status, words = child.status, self._words_of(child)
        if child.name == "cloud":
            raise ShoalError(f"the embedded cloud ended (status {status}), so everything stops: {words}")
        now = time.monotonic()
        self._restarts = [at for at in self._restarts if now - at < RESTART_WINDOW_SECONDS] + [now]
        if len(self._restarts) > MAX_RESTARTS:
            raise ShoalError(f"the {child.name} ends again and again (status {status}): {words}")
        console.print(f"[bold red]{child.name} ended (status {status}); starting it again[/bold red]")
        child.stop(0)
        child.start()

    def close(self) -> None:
        """Stop every part, the last started first."""
        for child in reversed(self._children):
            child.stop(STOP_SECONDS)
        with contextlib.suppress(OSError):  # the terminal may be what has gone
            console.print("Stopped.")
