"""`shoal up`: the whole system on this machine, on an embedded cloud, until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from inference import store
from shoal import settings
from shoal.errors import NotFound, Retryable, SettingsError, ShoalError
from shoal.folders import folder
from shoal.lifecycle import (
    UP_LOCK,
    WRONG_SETTING,
    StopSignal,
    check_start,
    is_stopping,
    keep_private,
    only_one,
    tell_stopping,
)
from shoal.proxies import with_direct_hosts
from shoal.retry import patiently
from shoal.state_folder import page_address
from shoal_cli._processes import CODE, PYTHON, Child, pump, wait_until
from shoal_cli.set import ask_a_controller

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on this machine: no proxy
START_SECONDS = 60.0
STOP_SECONDS = 15.0
END_SECONDS = 4 * STOP_SECONDS  # three parts stop one after another
WORKER_START_SECONDS = 1.5  # from the start of its process to its registration
MACHINE_START_SECONDS = 6.0  # from the start of its first process to its worker's registration
LEAST_SECONDS = 0.001  # of work for a photo that the setting takes: a net of faces takes less
RETRY_SECONDS = 0.5
MAX_RESTARTS = 5  # of one part in RESTART_WINDOW_SECONDS; then `shoal up` gives up
RESTART_WINDOW_SECONDS = 60.0
ONLY_A_CONTROLLER_KNOWS = ("policy", "policy_options", "steps", "schedule", "time_zone", "budget_amount")
SILENT_SECONDS = 1.0  # of a stop, before it is said what is waited for
WAITS_FOR = {
    "controller": "the controller finishes its last call to the cloud",
    "web": "the web tier finishes requests under way",
    "cloud": "the workers finish or give back their photos, and the embedded cloud writes its state",
}
DEBIAN = "debian-12"  # what ami/machine-tree calls the fresh one, from which `shoal bake` begins
COLOURS = {"controller": "cyan", "web": "magenta", "cloud": "yellow"}

console = Console(highlight=False)


@click.command()
@click.option(
    "--hostile", type=int, metavar="SEED", help="Let the embedded cloud fail on purpose, see docs/hostile.md."
)
@click.option("--hostile-only", metavar="NAME,...", help="Only these faults.")
@click.option("--hostile-rate", type=float, metavar="FACTOR", help="Faults more often by this factor.")
def command(hostile: int | None, hostile_only: str | None, hostile_rate: float | None) -> None:
    """Start the system on this machine and serve until Ctrl-C."""
    began = time.monotonic()
    options = {"--hostile": hostile, "--hostile-only": hostile_only, "--hostile-rate": hostile_rate}
    # The controller's own file may name models, which the web tier then offers from this start on.
    chosen = replace(settings.load_with_own_file(), cloud=settings.load().cloud)
    settings.check_exposure(chosen)
    otherwise = f"Shoal already runs in {chosen.state_dir}: stop it, or set SHOAL_STATE_DIR and SHOAL_PORT"
    lock = chosen.state_dir / UP_LOCK
    _wait_for_its_end(lock)
    check_start(lock, chosen.host, chosen.port)
    _check_policy(chosen)
    _check_venues(chosen)
    with only_one(lock, otherwise), StopSignal() as stop:
        prepare_model(chosen)
        keep_private(chosen.state_dir)  # after the models, which several users may share
        if not stop.stopping:
            with contextlib.closing(SystemProcesses(chosen, _given(options))) as system:
                page_address.tell(chosen.state_dir, system.address)
                system.start(stop, began)
                system.supervise(stop)
                tell_stopping(lock)


def _wait_for_its_end(lock: Path) -> None:
    """Wait while another `shoal up` in the folder stops. Raises Retryable when that takes too long."""
    if not is_stopping(lock):
        return
    console.print(f"The Shoal in {lock.parent} is still stopping: waiting for its end.", markup=False, soft_wrap=True)
    deadline = time.monotonic() + END_SECONDS
    while is_stopping(lock):
        if time.monotonic() > deadline:
            raise Retryable(f"the Shoal in {lock.parent} is still stopping: try again in a moment")
        time.sleep(RETRY_SECONDS)


def _given(options: Mapping[str, object]) -> list[str]:
    """The command-line arguments for the options that have a value."""
    return [word for name, value in options.items() if value is not None for word in (name, str(value))]


def _check_policy(chosen: settings.Settings) -> None:
    """Raise SettingsError for what the controller would refuse, before the cloud starts and has to stop again."""
    usual = settings.Settings()
    if any(getattr(chosen, name) != getattr(usual, name) for name in ONLY_A_CONTROLLER_KNOWS):
        ask_a_controller()


def _check_venues(chosen: settings.Settings) -> None:
    """Raise SettingsError for a venue that the web tier does not have, before the cloud starts."""
    usual = settings.Settings()
    if (chosen.venue, chosen.venues) != (usual.venue, usual.venues):
        names = {settings.variable("venue"): chosen.venue, settings.variable("venues"): chosen.venues}
        command = [*PYTHON, "-m", "web_tier", "--check"]
        done = subprocess.run(command, env=os.environ | names | CODE, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SettingsError(done.stderr.strip().rpartition("\n")[2])


def _for_the_web_tier(chosen: settings.Settings) -> dict[str, str]:
    """The settings in the controller's own file that the web tier reads as well, from its environment."""
    own, found = str(settings.own_file()), settings.sources()
    return {
        one.variable: settings.as_text(getattr(chosen, one.name))
        for one in settings.SETTINGS
        if one.variable in settings.OF_THE_WEB_TIER and found.get(one.name) == own
    }


def prepare_model(chosen: settings.Settings) -> None:
    """Prepare the models that are not prepared, and choose their arithmetic on a new kind of CPU.

    It is done in a child process: TensorFlow needs memory. Raises NotFound for a tail that is not prepared.
    """
    for name in chosen.served_tails:
        store.find(name, chosen.engine, chosen.cache_dir)
    found = {name: _prepared(name, chosen) for name in chosen.served_models}
    missing = [name for name, artefact in found.items() if artefact is None]
    if not missing:
        for one in found.values():
            if one and one.notice:
                console.print(f"[bold yellow]Notice:[/] {one.notice}")
        return
    console.print(f"[bold]Preparing[/bold] {', '.join(missing)}, once", soft_wrap=True)
    done = subprocess.run([*PYTHON, "-m", "shoal_cli", "models", "prepare"], env=os.environ | CODE, check=False)
    if done.returncode:
        raise ShoalError("the model could not be prepared (see above)")


def _prepared(name: str, chosen: settings.Settings) -> store.Artefact | None:
    """The model as workers will run it; None where it is not prepared, or its arithmetic not chosen on this CPU."""
    weights = chosen.model_weights if name == chosen.model else None
    with contextlib.suppress(NotFound):
        found = store.find(name, chosen.engine, chosen.cache_dir, weights, chosen.precision)
        if chosen.precision != "auto" or (found.measured and found.measured.here()):
            return found
    return None


def beliefs(chosen: settings.Settings) -> dict[str, str]:
    """Settings of what the controller assumes before it has measured: what preparing and the embedded cloud know."""
    weights = chosen.model_weights
    artefact = store.find(chosen.model, chosen.engine, chosen.cache_dir, weights, chosen.precision)
    start = WORKER_START_SECONDS if chosen.local_instances == "process" else MACHINE_START_SECONDS
    found = {"SHOAL_EXPECTED_BOOT_SECONDS": f"{chosen.local_boot_seconds + start:g}"}
    seconds = store.seconds_a_photo(artefact)
    if seconds is not None:
        seconds = max(seconds, LEAST_SECONDS)
        found["SHOAL_EXPECTED_SERVICE_SECONDS"] = f"{seconds:.4g}"
        # One worker uses all cores, and all workers run on this machine.
        found["SHOAL_EXPECTED_MOST_PER_SECOND"] = f"{1 / seconds:.4g}"
    return found


def machine_image(chosen: settings.Settings) -> Path:
    """Bake the image of instances that are machines, or take the one that was baked of the same code and models.

    Raises ShoalError: the reason has been printed.
    """
    place = chosen.cache_dir.absolute() / "machines"
    command = [folder("ami") / "machine-tree", place]
    console.print(f"The image of the machines is made in {place}, unless it is there.", markup=False, soft_wrap=True)
    asked = {"CACHE_DIR": chosen.cache_dir.absolute(), "MODEL": chosen.model, "MODELS": chosen.models}
    environment = os.environ | CODE | {f"SHOAL_{name}": str(value) for name, value in asked.items()}
    environment |= {"PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise ShoalError("the image of the machines could not be baked (see above)")
    *lines, image = done.stdout.splitlines()
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    return Path(image)


def answers(address: str) -> bool:
    """Whether a web tier answers at `address`, for example http://127.0.0.1:8000."""
    try:
        with _DIRECT.open(f"{address}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


class SystemProcesses:
    """The processes of the system: the embedded cloud, the controller and the web tier."""

    def __init__(self, chosen: settings.Settings, cloud_options: Sequence[str] = ()) -> None:
        self._settings = chosen
        self._cloud_options = cloud_options
        self._state = chosen.state_dir.absolute()
        self._env_file = self._state / "env"
        # All get the same settings whatever their folder, and no variables of another cloud.
        # A misspelt setting is told once, by this process.
        apart = settings.misspelt()
        self._environment = {
            key: value for key, value in os.environ.items() if not key.startswith("AWS_") and key not in apart
        }
        self._environment |= {"SHOAL_STATE_DIR": str(self._state), "PYTHONUNBUFFERED": "1", **CODE}
        self._environment = (
            beliefs(chosen) | self._environment | _for_the_web_tier(chosen) | with_direct_hosts(self._environment)
        )
        self._children: list[Child] = []
        self._restarts: dict[str, list[float]] = {}  # when each part was started again
        self._last_words: dict[str, str] = {}

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://{self._settings.host}:{self._settings.port}"

    def start(self, stop: StopSignal, began: float) -> None:
        """Start all parts; return when the page answers and the controller goes.

        began: when the command was called, as time.monotonic() says it, because a person also waits for the models.
        Raises ShoalError, which names the log to read.
        """
        self._start_cloud()
        if not stop.stopping:
            self._start_tiers()
        if not stop.stopping:
            console.print(f"\n  [bold green]Shoal is ready[/bold green] after {time.monotonic() - began:.1f} s")
            console.print(f"  Open [bold]{self.address}[/bold] and drop photos on the page. Ctrl-C stops it.\n")

    def _start_cloud(self) -> None:
        image = machine_image(self._settings) if self._machines else self._process_image()
        boot = str(self._settings.local_boot_seconds)
        arguments = ["--state-dir", str(self._state), "--boot-seconds", boot]
        arguments += ["--image", f"{self._settings.image}={image}", "--instances", self._settings.local_instances]
        if self._machines:
            arguments += ["--image", f"{DEBIAN}={image.parent / DEBIAN}"]
        cloud = self._child("cloud", "-m", "local_cloud", *arguments, *self._cloud_options)
        self._run_cloud(cloud)
        # The other parts keep the endpoints and keys from their start: after a restart the cloud must use the same.
        for option, name in (("--port", "AWS_ENDPOINT_URL"), ("--services-port", "AWS_ENDPOINT_URL_S3")):
            cloud.add_arguments(option, self._environment[name].rpartition(":")[2])
        names = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
        cloud.add_variables({f"LOCAL_CLOUD_{name}": self._environment[f"AWS_{name}"] for name in names})

    @property
    def _machines(self) -> bool:
        return self._settings.local_instances == "machine"

    def _process_image(self) -> Path:
        """The image of instances that are process trees: it names this machine's Python and cache."""
        image = self._state / "image"
        shutil.rmtree(image, ignore_errors=True)
        image.mkdir(parents=True)
        subprocess.run(
            [folder("ami") / "install", image, sys.executable, self._settings.cache_dir.absolute()], check=True
        )
        return image

    def _run_cloud(self, cloud: Child) -> None:
        """Start the embedded cloud, and create the buckets, queues and so on that are missing in it."""
        self._env_file.unlink(missing_ok=True)  # after a kill -9 it may be there from the last run
        cloud.start()
        self._wait_for(cloud, self._env_file.exists)
        found = settings.read_env_file(self._env_file)
        self._environment |= found
        self._settings = replace(self._settings, cloud=found)
        self._prepare(cloud)

    def _prepare(self, cloud: Child) -> None:
        from shoal.aws import prepare

        def pause() -> bool:
            pump(self._children, RETRY_SECONDS, self._show)
            return cloud.status is not None

        # A cloud under load refuses calls; the hostile embedded cloud does it on purpose.
        patiently(lambda: prepare(self._settings), START_SECONDS, pause)

    def _start_tiers(self) -> None:
        web = self._child("web", "-m", "web_tier")
        web.start()
        self._wait_for(web, lambda: answers(self.address))
        # Last: it has no work before the first photo, and its start would delay the page.
        controller = self._child("controller", "-m", "controller")
        controller.start()
        goes = wait_until(self._has_controller, controller, self._children, START_SECONDS, self._show)
        if not goes and controller.status == WRONG_SETTING:
            raise ShoalError(f"the controller did not start: {self._words_of(controller)}")
        # One that ended for another reason is started again: see `supervise`.

    def _has_controller(self) -> bool:
        return settings.in_force.read(self._state) is not None

    def _child(self, name: str, *arguments: str) -> Child:
        child = Child(name, [*PYTHON, *arguments], self._state / "logs" / f"{name}.log", self._environment)
        self._children.append(child)
        return child

    def _wait_for(self, child: Child, ready: Callable[[], bool]) -> None:
        if not wait_until(ready, child, self._children, START_SECONDS, self._show):
            raise ShoalError(f"the {child.name} did not start: {self._words_of(child)}")

    def _show(self, child: Child, line: str) -> None:
        if line.strip():
            self._last_words[child.name] = line
            console.print(f"[{COLOURS[child.name]}]{child.name:>10}[/] │ ", end="")
            console.print(line, markup=False, soft_wrap=True)

    def _words_of(self, child: Child) -> str:
        for line in child.read_lines():
            self._show(child, line)
        return f"{self._last_words.get(child.name, 'no output')} (log: {child.log})"

    def supervise(self, stop: StopSignal) -> None:
        """Print what the parts log, and restart parts that crash, until the stop."""
        while not stop.stopping:
            pump(self._children, 0.2, self._show)
            for child in self._children:
                if child.status is not None and not stop.stopping:
                    self._revive(child)

    def _revive(self, child: Child) -> None:
        status, words = child.status, self._words_of(child)
        now = time.monotonic()
        # Each part by itself: when the machine's memory is short, several may end, and none is to blame.
        recent = [at for at in self._restarts.get(child.name, ()) if now - at < RESTART_WINDOW_SECONDS]
        self._restarts[child.name] = [*recent, now]
        if len(recent) >= MAX_RESTARTS:
            raise ShoalError(f"the {child.name} ends again and again (status {status}): {words}")
        console.print(f"[bold red]{child.name} ended (status {status}); starting it again[/bold red]")
        child.stop(0)
        if child.name != "cloud":
            child.start()
            return
        try:
            self._run_cloud(child)
        except ShoalError:
            if child.status is None:
                raise
            # It ended while it started: `supervise` sees that, and this counts as one more restart.

    def close(self) -> None:
        """Stop all parts in the reverse order of their start."""
        stop_all(self._children)
        with contextlib.suppress(OSError):  # the terminal may be closed
            console.print("Stopped.")


def stop_all(children: Sequence[Child]) -> None:
    """Stop the processes, the last first, and say what is waited for when that takes long."""
    for child in reversed(children):
        child.ask_to_stop()
        if not child.ends_within(SILENT_SECONDS):
            with contextlib.suppress(OSError):  # the terminal may be closed
                console.print(f"Stopping: {WAITS_FOR[child.name]}, at most {STOP_SECONDS:g} s. Ctrl-C ends it at once.")
        child.stop(STOP_SECONDS)
