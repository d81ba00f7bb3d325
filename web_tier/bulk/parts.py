"""All about bulk runs that the routes use, in one hand."""

from __future__ import annotations

from concurrent.futures import Executor

from shoal.ports import Clock, Cloud
from shoal.settings import Settings
from web_tier.bulk.allowed import AllowedPlaces
from web_tier.bulk.beginning import RunStarter
from web_tier.bulk.downloads import Downloads
from web_tier.bulk.looking import RunLooker
from web_tier.bulk.rows import RunRows
from web_tier.bulk.shown import ShownRows


class BulkRuns:
    """The runs of this Shoal."""

    def __init__(self, settings: Settings, cloud: Cloud, clock: Clock, threads: Executor) -> None:
        self.allowed = AllowedPlaces(settings)
        self.starter = RunStarter(settings, cloud, clock, self.allowed)
        self.looker = RunLooker(cloud, clock, threads)
        self.rows = RunRows(self.looker.records)
        self.downloads = Downloads()
        self.shown = ShownRows(self.rows)
