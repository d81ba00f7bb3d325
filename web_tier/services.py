"""Everything that the routes use, made once per process."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from flask import current_app, request

from shoal import ledger, plugins
from shoal.corrections import Corrections
from shoal.ledger import Follower
from shoal.ports import Clock, Cloud
from shoal.prices import price_per_hour
from shoal.settings import Settings
from web_tier.batches import Batches
from web_tier.collector import Collector
from web_tier.fetch import Fetcher
from web_tier.gauge import Gauge
from web_tier.history import History
from web_tier.hub import Hub
from web_tier.intake import Intake
from web_tier.offers import Form
from web_tier.report import Reporter
from web_tier.venue import Venue

EXTENSION = "shoal"
STORE_THREADS = 16
FETCH_THREADS = 64  # photos that are fetched by address at once; each may take seconds
THUMBNAILS_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Services:
    """What one web process is made of."""

    settings: Settings
    cloud: Cloud
    clock: Clock
    hub: Hub
    batches: Batches
    corrections: Corrections
    intake: Intake
    venue: Venue
    gauge: Gauge
    collector: Collector
    history: History
    price: float | None
    reporter: Reporter
    workers: ThreadPoolExecutor
    fetcher: Fetcher
    fetchers: ThreadPoolExecutor
    models: tuple[str, ...]
    thumbnails: threading.BoundedSemaphore
    streams: threading.BoundedSemaphore

    def start(self) -> None:
        """Start the threads behind the routes."""
        self.collector.start()
        self.gauge.start()

    def stop(self) -> None:
        """Tell open pages and waiting requests that it is over, and end the threads."""
        self.collector.stop()
        self.gauge.stop()
        self.hub.stop()
        self.workers.shutdown(wait=False)
        self.fetchers.shutdown(wait=False, cancel_futures=True)
        self.fetcher.stop()


def build(settings: Settings, cloud: Cloud, clock: Clock) -> Services:
    """Wire everything up; nothing runs yet. Raises SettingsError for an unknown venue."""
    hub = Hub()
    venue: Venue = plugins.load(settings.venue, "web_tier.venues", "make")(cloud)
    workers = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="store")
    corrections = Corrections(cloud.outputs, workers, clock)
    gauge, price = Gauge(cloud, hub), price_per_hour(settings)
    past = History(Follower(settings.state_dir / ledger.NAME), clock)
    models = settings.served_models
    return Services(
        settings=settings,
        cloud=cloud,
        clock=clock,
        hub=hub,
        batches=Batches(cloud, hub, workers, corrections),
        corrections=corrections,
        intake=Intake(settings, models, venue, cloud.outputs, hub, workers),
        venue=venue,
        gauge=gauge,
        collector=Collector(cloud.responses, hub),
        history=past,
        price=price,
        reporter=Reporter(cloud, gauge, hub, past, clock, price),
        workers=workers,
        fetcher=Fetcher(settings.max_file_bytes, settings.fetch_seconds, settings.fetch_own_places),
        fetchers=ThreadPoolExecutor(FETCH_THREADS, thread_name_prefix="fetch"),
        models=models,
        thumbnails=threading.BoundedSemaphore(THUMBNAILS_AT_ONCE),
        # Each open page holds a thread: leave half of them to everything else.
        streams=threading.BoundedSemaphore(max(1, settings.web_threads // 2)),
    )


def services() -> Services:
    """The services of the app that handles the current request."""
    found: Services = current_app.extensions[EXTENSION]
    return found


def form() -> Form:
    """The photos of the current request's form; the model may also be named in its address."""
    limit = services().settings.max_file_bytes
    return Form(request.stream, request.headers.get("Content-Type", ""), limit, request.args.get("model", ""))
