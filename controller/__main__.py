"""`python controller.py`: the daemon that keeps the pool at the size of its work. APScheduler drives its ticks.

`python controller.py --dry-run` decides and explains, and does nothing. It can run beside the daemon.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from apscheduler.job import Job
from apscheduler.schedulers.background import BackgroundScheduler

from controller.estimates import Spread
from controller.experience import Experience
from controller.intents import Intents
from controller.lease import Hold, holder_id
from controller.ledger import Ledger
from controller.metrics import UNITS, CloudWatch, EmbeddedMetrics, Metrics
from controller.reconciler import Reconciler
from controller.rules import Rules, boot_file, reloaded
from controller.slow_lane.bulk_sweep import BulkSweep
from controller.slow_lane.bulk_watch import BulkWatch
from controller.sweeper import Sweeper
from controller.tally import Tally
from controller.terminations import AskByQueue
from controller.throughput import Throughput
from shoal import ledger_file, logs, settings
from shoal.aws import connect, put_metrics, region
from shoal.clock import SystemClock
from shoal.errors import Permanent, SettingsError, ShoalError
from shoal.ledger import Entry, Spent
from shoal.lifecycle import (
    WRONG_SETTING,
    StopSignal,
    end_when_a_thread_dies,
    end_within,
    keep_private,
    only_one,
    steady,
)
from shoal.ports import Cloud
from shoal.prices import price_in_words
from shoal.settings import in_force
from shoal.state_folder.arrivals import Arrivals

log = logging.getLogger("controller")


LIVE_SECONDS = 0.1  # how often the main thread looks for a reload, and for photos while nothing is to do


def main() -> None:
    """Run the daemon until a signal. The pool is left as it is. SIGHUP reads the settings file again."""
    end_when_a_thread_dies()
    parser = argparse.ArgumentParser("controller.py", description="Keeps the pool at the size of its work.")
    parser.add_argument("--dry-run", action="store_true", help="look, decide, write the ledger, do nothing")
    parser.add_argument("--check", action="store_true", help="only read the settings; status 1 when one is wrong")
    given = parser.parse_args()
    dry_run = given.dry_run
    try:
        chosen = settings.load_with_own_file()
        if given.check:
            Rules.of(chosen)
            return
        logs.configure(chosen.log_level)
        for sentence in settings.misspelt().values():
            log.warning("%s", sentence)
        keep_private(chosen.state_dir)
        otherwise = f"another controller runs in {chosen.state_dir}: stop it, or set SHOAL_STATE_DIR and SHOAL_PREFIX"
        alone = contextlib.nullcontext() if dry_run else only_one(chosen.state_dir / in_force.LOCK, otherwise)
        with alone, StopSignal() as stop:
            Controller(chosen, dry_run).run(stop)
    except SettingsError as error:
        own = settings.own_file()
        told = f"{error} (the values in {own} count, too)" if own.exists() else str(error)
        sys.stderr.write(f"controller: {told}\n")
        sys.exit(WRONG_SETTING)
    except ShoalError as error:
        sys.exit(f"controller: {error}")


class Controller:
    """The daemon, assembled from the settings. Raises SettingsError."""

    def __init__(self, chosen: settings.Settings, dry_run: bool) -> None:
        self._chosen = chosen
        self._dry_run = dry_run
        self._reads = 1
        rules = Rules.of(chosen)
        clock = SystemClock()
        marking = connect(chosen, self._boot_file, lambda: self._chosen.max_instances)
        cloud = _asking(chosen, marking, clock)
        self._arrivals = Arrivals(chosen.state_dir)
        self._idle = False
        self._hold = Hold(cloud.lease, holder_id(chosen.state_dir / "controller.id"), chosen.lease_seconds, steady)
        self._ledger = ledger = Ledger(chosen.state_dir / ledger_file.NAME, chosen.emulated)
        self._clock = clock
        self._reconciler = Reconciler(
            cloud,
            rules,
            ledger,
            self._hold,
            Intents(self._hold, chosen.launch_seconds),
            clock,
            steady,
            *_known(chosen, ledger.last(), clock.now()),
            dry_run,
            marking.pool,
            BulkWatch(cloud).need,
        )
        self._sweeper = Sweeper(
            cloud, clock, chosen.resp_queue, chosen.sweep_seconds, chosen.sweep_days, chosen.keep_days
        )
        self._bulk_sweep = BulkSweep(cloud, clock)
        self._metrics = Metrics()
        self._cloudwatch = _cloudwatch(chosen, clock)

    def _boot_file(self) -> str:
        return boot_file(self._chosen.for_worker() | {"AWS_DEFAULT_REGION": region()})

    def run(self, stop: StopSignal) -> None:
        """Tick until the stop."""
        chosen = self._chosen
        log.info("%swatching %s: %s", "dry run, " if self._dry_run else "", chosen.req_queue, _words(chosen))
        scheduler = BackgroundScheduler(job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None})
        ticks = _every(scheduler, chosen.tick_seconds, self._tick)
        if not self._dry_run:
            _every(scheduler, chosen.sweep_seconds, _put_off_when_it_fails(self._sweep))
        with _served(self._metrics, chosen.metrics_port):
            scheduler.start()
            self._reload_until(stop, lambda: ticks.modify(next_run_time=_now()))
            log.info("stopping (%s); the pool stays as it is", stop.reason)
            end_within()
            scheduler.shutdown()
            self._ledger.end(self._clock.now(), stop.reason)
        self._hold.release()

    def _tick(self) -> None:
        began = steady()
        tick = self._reconciler.tick()
        seconds = steady() - began
        self._idle = tick is not None and not tick.observation.depth.total
        self._metrics.ticked(tick, seconds, self._hold.held())
        if self._cloudwatch is not None:
            self._cloudwatch.ticked(tick, seconds)

    def _sweep(self) -> None:
        if self._hold.held():
            self._sweeper.sweep()
            self._bulk_sweep.sweep()

    def _reload_until(self, stop: StopSignal, tick_now: Callable[[], object]) -> None:
        wanted = threading.Event()
        signal.signal(signal.SIGHUP, lambda *_: wanted.set())  # a daemon's reload; `stop` puts its own back at the end
        self._tell_settings()
        while not stop.wait(LIVE_SECONDS):
            if wanted.is_set():
                wanted.clear()
                self.reload()
            if self._arrivals.any_new() and self._idle:
                self._idle = False
                tick_now()

    def reload(self) -> None:
        """Read the settings again and use them. When one is wrong or needs a restart, all of them are refused."""
        self._reads += 1
        try:
            fresh = settings.load_with_own_file()
            rules = reloaded(self._chosen, fresh)
        except ShoalError as error:
            log.error("the new settings are refused, the old ones stay: %s", error)
            self._tell_settings(str(error))
            return
        given = fresh.for_worker() != self._chosen.for_worker()
        self._chosen = fresh  # the next launch renders the boot file from it
        logs.configure(fresh.log_level)
        no_launch = self._reconciler.use(rules)
        if given:
            self._reconciler.expect_other_workers()
        news = "; new instances get the new settings, running ones keep theirs" if given else ""
        log.info("settings read again: %s%s", _words(fresh), news)
        self._tell_settings(no_launch=no_launch)

    def _tell_settings(self, refused: str = "", no_launch: str = "") -> None:
        """Write down what this controller goes by, for `shoal set`, `shoal status` and the pages."""
        if self._dry_run:
            return
        try:
            in_force.of(self._chosen, self._reads, refused, no_launch).write(self._chosen.state_dir)
        except OSError as error:
            log.warning("what this controller goes by cannot be written down: %s", error)


def _asking(chosen: settings.Settings, cloud: Cloud, clock: SystemClock) -> Cloud:
    """The cloud, with a pool that drains as the settings say: by tags or by messages."""
    if chosen.drain_by == "tag":
        return cloud
    # A message is obeyed until it is out of date; the next beat shows that.
    settled_seconds = chosen.terminate_seconds + chosen.beat_seconds
    pool = AskByQueue(cloud.pool, cloud.terminations, cloud.register, settled_seconds, clock.now, steady)
    return replace(cloud, pool=pool)


def _cloudwatch(chosen: settings.Settings, clock: SystemClock) -> CloudWatch | None:
    if chosen.cloudwatch == "off":
        return None
    publish = EmbeddedMetrics(chosen.state_dir / "metrics.jsonl", chosen.prefix, clock.now)
    return CloudWatch(publish if chosen.cloudwatch == "file" else put_metrics(chosen.prefix, UNITS), steady)


@contextlib.contextmanager
def _served(metrics: Metrics, port: int) -> Iterator[None]:
    if not port:
        yield
        return
    try:
        stop = metrics.serve(port)
    except OSError as error:
        raise Permanent(f"SHOAL_METRICS_PORT={port}: {error.strerror}") from error
    log.info("metrics at http://127.0.0.1:%d/metrics", port)
    try:
        yield
    finally:
        stop()


def _words(chosen: settings.Settings) -> str:
    size = f"{chosen.min_instances} to {chosen.max_instances} instances"
    return f"policy {chosen.policy}, {size}; {price_in_words(chosen)}"


def _known(chosen: settings.Settings, last: Entry | None, now: float) -> tuple[Experience, Spent | None]:
    """What the controller before this one measured, counted and spent, by its last entry in the ledger. The settings
    say what to expect before anything was measured."""
    alone = (last and (last.alone_seconds or last.service_seconds)) or chosen.expected_service_seconds
    experience = Experience(
        tally=Tally.after(last) if last else Tally(),
        service=Spread.guess(alone),
        boot=Spread.guess((last and last.boot_seconds) or chosen.expected_boot_seconds),
        throughput=Throughput(alone, chosen.expected_most_per_second, now, last.rates if last else ()),
    )
    return experience, last.spent if last else None


def _every(scheduler: BackgroundScheduler, seconds: float, act: Callable[[], Any]) -> Job:
    return scheduler.add_job(act, "interval", seconds=seconds, next_run_time=_now())


def _now() -> datetime:
    return datetime.now().astimezone()


def _put_off_when_it_fails(act: Callable[[], None]) -> Callable[[], None]:
    def try_it() -> None:
        try:
            act()
        except ShoalError as error:
            log.warning("the sweep is put off: %s", error)

    return try_it


if __name__ == "__main__":
    main()
