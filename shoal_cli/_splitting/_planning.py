"""Measures what a plan needs: the link by real transfers, each tail by real calls. Checks plans by going their ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from time import perf_counter

import requests

from comparison.measurement import AS_IT_IS, RESIZED, Lane, Measurement
from comparison.photos import PreparedPhotos, resized
from comparison.price_list import pool_calls
from comparison.running import Door
from comparison.schedule import Stint
from comparison.split_venue import IN_LAMBDA, CutDoor
from comparison.venue_api import VenueApi
from inference.preparing.sources import Say
from inference.split.planning import LinkSpeed, SeenCall, Way, link_speed, shares
from shoal.errors import Permanent, Retryable
from shoal.prices import function_cost, price_per_hour, slower_with_little_memory
from shoal.settings import Settings
from shoal_cli._splitting._device import SPLIT, Device, never_sent_before
from shoal_cli._splitting._speed import WHOLE, DeviceSpeed
from shoal_cli._splitting._tail_calls import TailCalls, TailDoor

TRANSFERS = (1_000, 30_000, 120_000)  # bytes; about what activations have
EACH = 5  # transfers of a size
CALLS = 8  # to each tail after its first: each photo once
WHOLE_PHOTO = {"the whole photo": AS_IT_IS, "the photo, resized": RESIZED}


def measured_link(api: VenueApi) -> LinkSpeed:
    """The link to the endpoint. Raises Retryable if nothing answers."""
    try:
        api.transfer_seconds(TRANSFERS[0])  # opens the connection
        return link_speed((size, api.transfer_seconds(size)) for _ in range(EACH) for size in TRANSFERS)
    except requests.RequestException as error:
        raise Retryable(
            f"no Shoal answers at {api.address} ({type(error).__name__}): start it, or give --url"
        ) from error


@dataclass(frozen=True)
class FunctionEnd:
    """The Lambda function that runs tails, and the devices of those whose heads are here. memory_mb: of a call."""

    calls: TailCalls
    devices: Mapping[str, Device]
    memory_mb: int


@dataclass(frozen=True)
class Road:
    """A way that can be gone: its door, its lane, and what a photo's first call took there, in seconds.

    loading: the part of the first call in which the function loaded the tail; 0 where it was loaded.
    """

    way: Way
    door: Door | None
    lane: Lane
    cold: float = 0.0
    loading: float = 0.0


@dataclass(frozen=True)
class _Tried:
    """What the calls on a road showed. way: without the other end. cold: the first call, in seconds."""

    way: Way
    door: Door
    lane: Lane
    cold: float
    calls: Sequence[Measurement]
    loading: float = 0.0


def measured_roads(
    chosen: Settings, api: VenueApi, devices: Mapping[str, Device], speed: DeviceSpeed, photos: PreparedPhotos,
    say: Say, function: FunctionEnd | None = None,
) -> list[Road]:  # fmt: skip
    """Every way that there is here: each cut, all local, and the photo whole or resized if the server has a pool.

    The other end is measured by calls over a link without emulation. Raises Retryable, or Permanent if a call fails.
    """
    tried = []
    for tail, device in devices.items():
        say(f"measuring the tail of {tail}")
        door, lane = CutDoor(api, tail, never_sent_before(device)), Lane(f"{SPLIT} {tail}", AS_IT_IS)
        way = Way(tail.partition(".")[2], False, speed.seconds[tail], speed.sent_bytes[tail])
        tried.append(_tried(way, door, lane, photos))
    if "pool" in api.venues():
        for name, size in WHOLE_PHOTO.items():
            say(f"measuring {name} in the pool")
            lane = Lane("pool", size)
            here = _seconds_to_resize(photos) if size == RESIZED else 0.0
            sent = fmean(len(photos.lane_content(one, lane)) for one in photos.names())
            tried.append(_tried(Way(name, True, here, sent), api, lane, photos))
    roads = _with_ends(tried, measured_link(api), price_per_hour(chosen)) if tried else []
    if function:
        roads += function_roads(chosen, function, speed, photos, measured_link(api), say)
    if WHOLE in speed.seconds:
        roads.append(Road(Way(WHOLE, False, speed.seconds[WHOLE]), None, Lane(WHOLE, AS_IT_IS)))
    return roads


def function_roads(
    chosen: Settings, function: FunctionEnd, speed: DeviceSpeed, photos: PreparedPhotos, link: LinkSpeed, say: Say
) -> list[Road]:
    """The ways whose tail the Lambda function runs. Its wait holds what its own line takes more than `link`."""
    tried = []
    for tail, device in function.devices.items():
        say(f"measuring the tail of {tail} in Lambda")
        door, lane = TailDoor(function.calls, never_sent_before(device)), Lane(f"{SPLIT} {tail}, lambda", AS_IT_IS)
        way = Way(f"{tail.partition('.')[2]}{IN_LAMBDA}", False, speed.seconds[tail], speed.sent_bytes[tail])
        tried.append(_tried(way, door, lane, photos))
    if not tried:
        return []
    slower = slower_with_little_memory(function.memory_mb) if chosen.emulated else 1.0
    return [
        replace(one, way=replace(one.way, dollars=function_cost(function.memory_mb, 1000 * spent * slower, 1000)))
        for one in _with_ends(tried, link, None)
        for spent in [one.way.tail_seconds]
    ]


def _tried(way: Way, door: Door, lane: Lane, photos: PreparedPhotos) -> _Tried:
    """Send some photos on a way, one after the other. Raises Permanent if one fails."""
    names, found, loading = photos.names(), list[Measurement](), 0.0
    for number in range(1 + CALLS):
        name = names[number % len(names)]
        stint = Stint(lane, 0, "measured" if number else "cold", (name,))
        one = door.measure(stint, name, photos.lane_content(name, lane))
        if one.error:
            raise Permanent(f"{lane} cannot be measured: {one.error}")
        found.append(one)
        if not number and isinstance(door, TailDoor):
            loading = door.loading
    return _Tried(way, door, lane, found[0].total, found[1:], loading)


def _with_ends(tried: Sequence[_Tried], link: LinkSpeed, per_hour: float | None) -> list[Road]:
    """The roads with what their calls showed of the device and of the other end.

    A head takes another time between calls than in the loop of `device_speed`: there nothing else works meanwhile.
    """
    calls = [
        [SeenCall(one.total, one.device, one.inference - one.device, one.sent_bytes) for one in each.calls]
        for each in tried
    ]
    seen = shares(calls, link)
    roads = []
    for each, head, tail in zip(tried, seen.device, seen.model, strict=True):
        dollars = None if per_hour is None else 1000 * (tail * per_hour / 3600 + pool_calls())
        here = head or each.way.device_seconds  # a call does not tell what resizing took
        way = replace(each.way, device_seconds=here, waiting=seen.waiting, tail_seconds=tail, dollars=dollars)
        roads.append(Road(way, each.door, each.lane, each.cold, each.loading))
    return roads


def _over(api: VenueApi, door: Door | None) -> Door:
    """The same door over the link of `api`."""
    if isinstance(door, TailDoor):
        return replace(door, link=api.link)
    return CutDoor(api, door.tail, door.pack) if isinstance(door, CutDoor) else api


def _seconds_to_resize(photos: PreparedPhotos) -> float:
    def seconds(name: str) -> float:
        began = perf_counter()
        resized(photos.file(name))
        return perf_counter() - began

    return median(map(seconds, photos.names()))


def went(road: Road, api: VenueApi, photos: PreparedPhotos, local: Callable[[bytes], object] | None) -> float:
    """The median seconds of the photos on that road over the link of `api`. Raises Permanent if a photo fails."""
    seconds = []
    for name in photos.names():
        content = photos.lane_content(name, road.lane if road.door else Lane("", AS_IT_IS))
        began = perf_counter()
        if road.door is None and local:
            local(content)
            seconds.append(perf_counter() - began)
            continue
        if road.lane.size == RESIZED:
            content = resized(photos.file(name))
        here = perf_counter() - began
        door = _over(api, road.door)
        one = door.measure(Stint(road.lane, 1, "measured", (name,)), name, content)
        if one.error:
            raise Permanent(f"{road.lane} failed: {one.error}")
        seconds.append(here + one.total)
    return median(seconds)
