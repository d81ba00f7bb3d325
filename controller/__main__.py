"""`python controller.py`: the daemon that keeps the pool at the size of its work. APScheduler drives its ticks."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler

from controller import boot_file
from controller.intents import Intents
from controller.ledger import Ledger
from controller.policy import Limits, Policy
from controller.reconciler import Reconciler
from controller.sweeper import Sweeper
from shoal import logs, plugins, settings
from shoal.aws import connect, region
from shoal.errors import ShoalError
from shoal.lifecycle import StopSignal, only_one
from shoal.memory import SystemClock
from shoal.ports import Cloud

log = logging.getLogger("controller")


def main() -> None:
    """Run the daemon until a signal. The pool is left as it is."""
    try:
        chosen = settings.load_with_env_file()
        logs.configure(chosen.log_level)
        otherwise = f"another controller runs in {chosen.state_dir}: stop it, or set SHOAL_STATE_DIR and SHOAL_PREFIX"
        with only_one(chosen.state_dir / "controller.lock", otherwise), StopSignal() as stop:
            _run(chosen, stop)
    except ShoalError as error:
        sys.exit(f"controller: {error}")


def _run(chosen: settings.Settings, stop: StopSignal) -> None:
    worker_environment = chosen.for_worker() | {"AWS_DEFAULT_REGION": region()}
    cloud = connect(chosen, lambda: boot_file.render(worker_environment))
    clock = SystemClock()
    reconciler = _reconciler(chosen, cloud, clock)
    sweeper = Sweeper(cloud, clock, chosen.resp_queue, chosen.sweep_seconds, chosen.sweep_days)
    log.info(
        "watching %s: policy %s, %d to %d instances",
        chosen.req_queue,
        chosen.policy,
        chosen.min_instances,
        chosen.max_instances,
    )
    reconciler.resume()
    scheduler = BackgroundScheduler(job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None})
    _every(scheduler, chosen.tick_seconds, reconciler.tick)
    _every(scheduler, chosen.sweep_seconds, _put_off_when_it_fails(sweeper.sweep))
    scheduler.start()
    stop.wait()
    log.info("stopping (%s); the pool stays as it is", stop.reason)
    scheduler.shutdown()


def _reconciler(chosen: settings.Settings, cloud: Cloud, clock: SystemClock) -> Reconciler:
    policy: Policy = plugins.load(chosen.policy, "controller.policies", "policy")
    return Reconciler(
        cloud.requests,
        cloud.pool,
        policy,
        Limits(chosen.min_instances, chosen.max_instances, chosen.quiet_seconds),
        Ledger(chosen.state_dir / "ledger.jsonl"),
        Intents(chosen.state_dir / "intents.json", chosen.launch_seconds),
        clock,
        chosen.drain_seconds,
    )


def _every(scheduler: BackgroundScheduler, seconds: float, act: Callable[[], Any]) -> None:
    scheduler.add_job(act, "interval", seconds=seconds, next_run_time=datetime.now().astimezone())


def _put_off_when_it_fails(act: Callable[[], None]) -> Callable[[], None]:
    def try_it() -> None:
        try:
            act()
        except ShoalError as error:
            log.warning("the sweep is put off: %s", error)

    return try_it


if __name__ == "__main__":
    main()
