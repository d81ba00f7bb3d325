"""Everything that the routes use, made once per process."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from flask import current_app

from shoal import plugins
from shoal.ports import Clock, Cloud
from shoal.settings import Settings
from web_tier.batches import Batches
from web_tier.collector import Collector
from web_tier.gauge import Gauge
from web_tier.hub import Hub
from web_tier.intake import Intake
from web_tier.venue import Venue

EXTENSION = "shoal"
STORE_THREADS = 16
THUMBNAILS_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Services:
    """What one web process is made of."""

    settings: Settings
    cloud: Cloud
    clock: Clock
    hub: Hub
    batches: Batches
    intake: Intake
    venue: Venue
    gauge: Gauge
    collector: Collector
    workers: ThreadPoolExecutor
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


def build(settings: Settings, cloud: Cloud, clock: Clock) -> Services:
    """Wire everything up; nothing runs yet. Raises SettingsError for an unknown venue."""
    hub = Hub()
    venue: Venue = plugins.load(settings.venue, "web_tier.venues", "make")(cloud)
    workers = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="store")
    return Services(
        settings=settings,
        cloud=cloud,
        clock=clock,
        hub=hub,
        batches=Batches(cloud, hub, workers),
        intake=Intake(settings, venue, cloud.outputs, hub, workers),
        venue=venue,
        gauge=Gauge(cloud, hub),
        collector=Collector(cloud.responses, hub),
        workers=workers,
        thumbnails=threading.BoundedSemaphore(THUMBNAILS_AT_ONCE),
        # Each open page holds a thread: leave half of them to everything else.
        streams=threading.BoundedSemaphore(max(1, settings.web_threads // 2)),
    )


def services() -> Services:
    """The services of the app that handles the current request."""
    found: Services = current_app.extensions[EXTENSION]
    return found
