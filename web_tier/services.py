"""The services that the routes use, made once per process."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import IO

from flask import current_app, request

from shoal import ledger_file
from shoal.buckets.corrections import Corrections
from shoal.buckets.written_behind import WriteBehind
from shoal.ledger_file import Follower
from shoal.messages import Job, new_batch
from shoal.ports import Clock, Cloud
from shoal.settings import Settings, in_force
from web_tier.access import person
from web_tier.access.connections import ConnectionLimit
from web_tier.access.empty_batches import EmptyBatches
from web_tier.access.entrance import Entrance
from web_tier.access.guesses import Guesses
from web_tier.access.quotas import Quotas
from web_tier.bulk.ending import RunEnding
from web_tier.bulk.parts import BulkRuns
from web_tier.comparisons.runner import Comparisons
from web_tier.comparisons.runner import LambdaFunction as LambdaFunction  # for the app
from web_tier.intake.accept_photos import Intake, IntakeOutcome
from web_tier.intake.direct import Direct
from web_tier.intake.json_body import unpacked
from web_tier.intake.multipart import check_encoding
from web_tier.intake.offers import Counted, Form, Listed, Named, OfferedPhotos
from web_tier.outside.fair_threads import FairThreads
from web_tier.outside.fetch import Fetcher
from web_tier.outside.http_post import Poster
from web_tier.results.batches import Batches
from web_tier.results.collector import Collector
from web_tier.results.hub import Hub
from web_tier.results.open_streams import OpenStreams
from web_tier.results.reply_queue import ReplyQueue
from web_tier.results.space_watch import SpaceWatch
from web_tier.results.tidying import Tidying
from web_tier.results.webhooks import BATCH, RUN, BatchEnding, Webhooks, WorkEnding
from web_tier.thumbnail_gate import ThumbnailGate
from web_tier.venues import AnswersLater, Asker, Told, VenueParts
from web_tier.venues._offered import OfferedVenues, find_venue
from web_tier.venues._store_turns import StoreTurns
from web_tier.watching.batch_cost import BatchCost
from web_tier.watching.history import History
from web_tier.watching.pool_poller import PoolPoller
from web_tier.watching.readiness import Readiness
from web_tier.watching.report import Reporter

EXTENSION = "shoal"
STORE_THREADS = 16
STREAM_SECONDS = 0.5  # at a stop, for the last events of open pages
WRITE_SECONDS = 0.7  # at a stop, for the results that are not stored yet
FETCH_THREADS = 64  # photos that are fetched by address at the same time; each may take seconds
MOST_STREAMS = 4_000  # open pages


LabelLater = Callable[[Job, bytes, str, Callable[[], bool], Told], None]
"""Job, photo, the client's address, whether the client has left, who is told: see `web_tier.venues.AnswersLater`."""


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one web process.

    workers:  threads that store photos. readers: those that read the buckets for answers.
    has_pool: whether there are queues and workers.
    """

    settings: Settings
    cloud: Cloud
    clock: Clock
    hub: Hub
    batches: Batches
    corrections: Corrections
    intake: Intake
    venues: OfferedVenues
    behind: WriteBehind
    pool_poller: PoolPoller
    replies: ReplyQueue
    collectors: tuple[Collector, ...]
    history: History
    batch_cost: BatchCost
    reporter: Reporter
    workers: ThreadPoolExecutor
    readers: ThreadPoolExecutor
    fetcher: Fetcher
    fetchers: FairThreads
    models: tuple[str, ...]
    direct: Direct
    webhooks: Webhooks
    readiness: Readiness
    thumbnails: ThumbnailGate
    streams: OpenStreams
    connections: ConnectionLimit
    entrance: Entrance
    quotas: Quotas
    empty: EmptyBatches
    guesses: Guesses
    comparisons: Comparisons
    runs: BulkRuns
    has_pool: bool
    tidying: Tidying | None

    def later(self) -> LabelLater | None:
        """What labels a photo that is not kept without a thread of who asks; None where the venue cannot.

        Also None where people sign in: only the app knows who may do what.
        """
        venue = self.venues.chosen
        if not isinstance(venue, AnswersLater) or self.entrance.signs_in:
            return None
        begin = venue.begin
        return lambda job, payload, address, left, told: begin(job, payload, Asker(address, left, False), told)

    def start(self) -> None:
        """Start the threads behind the routes."""
        self.streams.start()
        self.behind.start()
        for collector in self.collectors:
            collector.start()
        self.pool_poller.start()
        self.webhooks.start()
        self.direct.start()
        if self.tidying:
            self.tidying.start()

    def stop(self) -> None:
        """End open pages and waiting requests, and the threads."""
        self.comparisons.stop()
        for collector in self.collectors:
            collector.stop()
        self.pool_poller.stop()
        self.webhooks.stop()
        self.direct.stop()
        if self.tidying:
            self.tidying.stop()
        self.hub.stop()
        self.streams.stop(STREAM_SECONDS)
        self.venues.stop()
        self.behind.stop(WRITE_SECONDS)
        self.replies.close()
        self.workers.shutdown(wait=False)
        self.readers.shutdown(wait=False)
        self.fetchers.stop()
        self.fetcher.stop()


def build(settings: Settings, cloud: Cloud, clock: Clock, has_pool: bool = True) -> Services:
    """Make the services; `start` starts them. Raises SettingsError for an unknown venue, NotFound without its model."""
    space = SpaceWatch(cloud.inputs), SpaceWatch(cloud.outputs)
    behind = WriteBehind()
    inputs, outputs = behind.around(space[0]), behind.around(space[1])
    cloud = replace(cloud, inputs=inputs, outputs=outputs)
    hub = Hub()
    turns = StoreTurns()
    parts = VenueParts(settings, cloud, inputs, outputs, behind, hub.publish, turns)
    venues = OfferedVenues(settings.venue, settings.further_venues, parts, has_pool)
    venue = venues.chosen
    direct = settings.direct_uploads if venue.stores and settings.private_data == "keep" else "off"
    workers = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="store")
    # Others than those that store: an answer must not wait until photos are stored.
    readers = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="read")
    corrections = Corrections(cloud.outputs, readers, clock)
    past = History(Follower(settings.state_dir / ledger_file.NAME), clock)
    pool_poller = PoolPoller(cloud, hub, past)
    going_by = partial(in_force.applied, settings)
    models = settings.served_models
    batches = Batches(cloud, clock, hub, readers, corrections, turns.answer)
    poster = Poster(settings.fetch_seconds, settings.fetch_own_places)
    replies = ReplyQueue(cloud.replies, settings.resp_queue)
    runs = BulkRuns(settings, cloud, clock, readers)
    endings: dict[str, WorkEnding] = {BATCH: BatchEnding(cloud.outputs, batches), RUN: RunEnding(runs.looker)}
    return Services(
        settings=settings,
        cloud=cloud,
        clock=clock,
        hub=hub,
        batches=batches,
        corrections=corrections,
        intake=Intake(
            settings, (*models, *settings.served_tails), venue, batches, cloud.outputs, replies, hub, workers
        ),
        venues=venues,
        behind=behind,
        pool_poller=pool_poller,
        replies=replies,
        # The common queue gets the results of photos that the sweeper, or an older version, queued.
        collectors=tuple(Collector(one, hub, batches.deleted) for one in (replies, cloud.responses))
        if has_pool
        else (),
        history=past,
        batch_cost=BatchCost(past, going_by),
        reporter=Reporter(cloud, pool_poller, hub, past, clock, going_by),
        workers=workers,
        readers=readers,
        fetcher=Fetcher(settings.max_file_bytes, settings.fetch_seconds, settings.fetch_own_places),
        fetchers=FairThreads(FETCH_THREADS, FETCH_THREADS * 3 // 4, "fetch"),
        models=models,
        readiness=Readiness(cloud, {"input bucket": space[0].check, "output bucket": space[1].check}, has_pool),
        has_pool=has_pool,
        tidying=None if has_pool else Tidying(cloud, clock, settings.keep_days),  # a controller does it
        direct=Direct(direct, settings.max_file_bytes, cloud, venue, hub, workers),
        webhooks=Webhooks(cloud.outputs, endings, clock, poster, settings.webhook_keys, settings.webhook_seconds),
        thumbnails=ThumbnailGate(settings.web_threads),
        streams=OpenStreams(MOST_STREAMS),
        connections=ConnectionLimit(settings.connections_per_address, settings.trusted_proxy),
        entrance=Entrance(settings, cloud.outputs, clock),
        quotas=Quotas(
            settings.user_photos_a_day,
            settings.user_photos_waiting,
            cloud.outputs,
            clock,
            lambda batch: len(batches.listing(batch).waiting),
        ),
        empty=EmptyBatches(clock),
        guesses=Guesses(clock),
        # A server has no device that could run a head: `shoal compare` measures the venue `split`.
        runs=runs,
        comparisons=Comparisons([name for name in venues.names if name != "split"], going_by, cloud),
    )


def check_venues(settings: Settings) -> None:
    """Raise SettingsError for a venue that does not exist. Makes none."""
    for name in (settings.venue, *settings.further_venues):
        find_venue(name)


def services() -> Services:
    """The services of the app that handles the current request."""
    found: Services = current_app.extensions[EXTENSION]
    return found


def begin_batch() -> str:
    """Make the id of a batch, which belongs to who sent the current request.

    May raise Retryable; raises Problem (429) for who has too many batches without a photo.
    """
    batch = new_batch(services().clock.now())
    own(batch)
    return batch


def own(batch: str) -> None:
    """Note that a batch belongs to who sent the current request, where people sign in.

    May raise Retryable; raises Problem (429) for who has too many batches without a photo.
    """
    who = person.current()
    if who is not None:
        services().empty.begin(batch, who.owner)
        services().entrance.batches.begin(batch, who.owner)


def json_stream() -> IO[bytes]:
    """The body of the current request, unpacked if it is gzipped. Raises Problem (415), and while it is read."""
    return unpacked(request.stream, request.headers.get("Content-Encoding", ""), request.max_content_length or 0)


def form(beside: Collection[str] = ()) -> Form:
    """The photos in the form of the current request. The query may name the model. Raises Problem (415).

    beside: as for `Form`.
    """
    limit = services().settings.max_file_bytes
    check_encoding(request.headers.get("Content-Encoding", ""))
    kind, model = request.headers.get("Content-Type", ""), request.args.get("model", "")
    return Form(request.stream, kind, limit, model, beside)


def listed(photos: Sequence[Named], model: str = "") -> Listed:
    """The photos of a JSON request."""
    return Listed(photos, services().fetcher, services().fetchers, request.remote_addr or "", model)


def take(offers: OfferedPhotos, batch: str, first: int = 0, keep_photos: bool = True) -> list[IntakeOutcome]:
    """`Intake.take` for the current request, whose query may name the venue. Raises Problem for one that is not there.

    keep_photos: whether a venue that labels photos before it stores them stores them, too.
    """
    left = request.environ.get("waitress.client_disconnected")
    labelled: list[Job] = []
    asker = Asker(request.remote_addr or "", left or (lambda: False), keep_photos, labelled.append)
    venue = services().venues.named(request.args.get("venue", ""))
    with services().quotas.request(person.current(), lambda: len(labelled)) as one:
        taken = services().intake.take(Counted(offers, one), batch, first, venue, asker)
    services().empty.filled(batch)
    return taken


def retry_failed(batch: str) -> int:
    """Label the failed photos of a batch once more, within the quota of who asks. Returns their number.

    Raises Problem (404, 429); may raise Retryable.
    """
    with services().quotas.request(person.current()) as one:
        return services().intake.retry(batch, one)
