"""`python -m benchmarks [PART ...]`: measure Shoal on this machine and print a table. Compare the ratios.

Parts: labels, worker, start, memory, peer, page, web, idle, default, long, local, lambda; all of them by default. Each
figure is the median of five rounds, or of as many as `--rounds` says. What is compared takes turns, so that a busy
neighbour slows both. The part `default` labels SHOAL_BENCH_PHOTOS photos in each round, the part `long` ten times as
many, in one round whatever `--rounds` says.
The model is in int8, quantized first if the cache has no int8; SHOAL_PRECISION=float32 measures float32.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import cloudless, cold_start, default, engine, idle, memory, page, photos, web
from benchmarks.linked_cache import linked_cache
from benchmarks.peers import peer, servers
from benchmarks.running.processes import embedded_cloud, prepare
from benchmarks.venues import function, local
from inference import store
from inference.arithmetic import FLOAT32, INT8, Agreement
from inference.preparing.choosing import quantize
from inference.process import Recogniser, load_as_set
from shoal.errors import Permanent
from shoal.prices import dollars, function_cost
from shoal.settings import Settings, load

PHOTOS = 200
PEER_PHOTOS = 500
PEER_BYTES = 80_000
MEMORY_PHOTOS = 10_000
INTAKE_PHOTOS = 400
DEFAULT_PHOTOS = 500
DEFAULT_BYTES = 104_000
LONG_BATCH = 10  # times as many
DEFAULT_SHARES = {"shoal classify": 0.45, default.PAGE: 0.35}  # of the engine
LOCAL_PHOTOS = 300
OPEN_PAGES = 500
ROUNDS = 5
LATENCY_SECONDS = 0.02
FUNCTION_SIZES = (512, 1024, 1769, 3008)  # MB

console = Console(highlight=False)


@dataclass(frozen=True)
class Row:
    """A line of the table: what was measured, the limit, and whether it was reached (None without a limit)."""

    name: str
    figure: str
    target: str = ""
    reached: bool | None = None


@dataclass(frozen=True)
class Bench:
    """What each part gets.

    folder: its scratch folder. rounds: of each measurement.
    """

    settings: Settings
    card: store.Card
    recogniser: Recogniser
    payloads: Sequence[bytes]
    folder: Path
    rounds: int

    def folder_of(self, size: int, count: int) -> Path:
        """A folder with the `count` photos whose size is nearest to `size` bytes."""
        folder = self.folder / f"photos{size}"
        if folder.exists():
            return folder
        folder.mkdir()
        found = photos.fetch(self.settings.cache_dir)
        for path in sorted(found, key=lambda one: abs(one.stat().st_size - size))[:count]:
            shutil.copy(path, folder / f"{len(list(folder.iterdir())):03d}.jpg")
        return folder


def main() -> None:
    """Measure the parts and print the table."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what it started is stopped
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure Shoal on this machine.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all when none is given")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of each measurement; {ROUNDS} when not given")
    given = parser.parse_args()
    names = given.parts or list(PARTS)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}; there are: {', '.join(PARTS)}")
    if given.rounds < 1:
        parser.error("at least one round is needed")
    with _bench(given.rounds) as bench:
        model = f"{bench.recogniser.models[0]} on {bench.recogniser.engine('')} in {bench.card.precision}"
        console.print(f"{_machine()}; {model}; medians of {bench.rounds} rounds unless a line says otherwise\n")
        table = Table("", "measured", "must reach", "")
        try:
            for name in names:
                with console.status(name):
                    for row in PARTS[name](bench):
                        reached = {None: "", True: "yes", False: "NO"}[row.reached]
                        table.add_row(row.name, row.figure, row.target, reached)
        finally:  # what was measured before something broke took minutes
            console.print(table)


@contextmanager
def _bench(rounds: int) -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp(prefix="shoal-bench-"))
    try:
        if load().precision != FLOAT32:
            os.environ["SHOAL_CACHE_DIR"] = str(_cache_with_int8(load(), folder))  # for all that is started, too
        yield _bench_in(folder, load(), rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bench_in(folder: Path, settings: Settings, rounds: int) -> Bench:
    found = photos.fetch(settings.cache_dir)
    payloads = [found[number % len(found)].read_bytes() for number in range(PHOTOS)]
    cache, weights, precision = settings.cache_dir, settings.model_weights, settings.precision
    card = store.find(settings.model, settings.engine, cache, weights, precision).card
    return Bench(settings, card, load_as_set(settings), payloads, folder, rounds)


def _cache_with_int8(settings: Settings, folder: Path) -> Path:
    """The cache if it has the model in int8 or cannot have it; else a cache of links to it, with int8 added."""
    found = store.find(settings.model, settings.engine, settings.cache_dir, settings.model_weights)
    if found.card.precision == INT8:
        return settings.cache_dir
    cache = linked_cache(settings.cache_dir, found.folder.parent.name, folder / "cache")
    try:
        quantize(settings.model, settings.engine, cache, settings.model_weights, None, console.print)
    except Permanent as error:
        console.print(error)
        return settings.cache_dir
    return cache


def _labels(bench: Bench) -> Iterator[Row]:
    measured = bench.card.quantized
    if measured:
        compared = measured["held_out"]
        passes = Agreement(round(measured["top1"] * compared), compared).passes
        figure = f"{measured['top1']:.1%} of {compared} photos"
        yield Row("top-1 agreement of int8 with float32", figure, ">= 98%, or within the interval", passes)


def _worker(bench: Bench) -> Iterator[Row]:
    recogniser, payloads = bench.recogniser, bench.payloads
    engine.decode_and_infer(recogniser, payloads[:32])  # warm
    kinds: dict[str, Callable[[], float]] = {
        "engine": lambda: engine.infer(recogniser, payloads),
        "limit": lambda: engine.decode_and_infer(recogniser, payloads),
        "worker": lambda: cloudless.label_all(recogniser, payloads),
        "late": lambda: cloudless.label_all(recogniser, payloads, LATENCY_SECONDS),
    }
    rounds = [{name: measure() for name, measure in kinds.items()} for _ in range(bench.rounds)]
    yield Row("engine alone", f"{_median(one['engine'] for one in rounds):.1f} images/s")
    yield Row("decode + engine in one process", f"{_median(one['limit'] for one in rounds):.1f} images/s")
    yield _share("worker, store and queue in memory", rounds, "worker", 0.95)
    yield _share(f"the same, {LATENCY_SECONDS * 1000:.0f} ms later every call", rounds, "late", 0.93)


def _share(name: str, rounds: Sequence[dict[str, float]], kind: str, target: float) -> Row:
    rate, share = _median(one[kind] for one in rounds), _median(one[kind] / one["limit"] for one in rounds)
    figure = f"{rate:.1f} images/s, {share:.1%} of decode + engine"
    return Row(name, figure, f">= {target:.0%}", share >= target)


def _peer(bench: Bench) -> Iterator[Row]:
    folder = bench.folder / "peer"
    folder.mkdir()
    photos_folder = bench.folder_of(PEER_BYTES, 60)
    found = peer.compare(bench.settings.cache_dir, folder, photos_folder, PEER_PHOTOS, bench.rounds)
    for set_up, rate in found.tried.items():
        yield Row(f"Celery + Redis, tried: {set_up}", f"{rate:.1f} images/s")
    ratio = _median(our / their for our, their in found.rounds)
    yield Row(
        f"Celery + Redis, {found.best}, {PEER_PHOTOS} photos", f"{_median(t for _, t in found.rounds):.1f} images/s"
    )
    ours = f"{_median(our for our, _ in found.rounds):.1f} images/s, {ratio:.2f} of Celery"
    yield Row(f"embedded cloud, one worker, {PEER_PHOTOS} photos", ours, "faster than Celery", ratio > 1)
    price = bench.settings.price_per_hour
    if price:
        per_dollar = _median(our for our, _ in found.rounds) * 3600 / price
        yield Row(f"images per dollar at {price:g} $/h", f"{per_dollar:,.0f}")
    yield Row("memory of that worker", f"{found.worker_megabytes:.0f} MB", "<= 300 MB", found.worker_megabytes <= 300)


def _start(bench: Bench) -> Iterator[Row]:
    folder = bench.folder / "start"
    folder.mkdir()
    with embedded_cloud(folder) as cloud:
        prepare(cloud, folder / "prepare.log")
        starts = [cold_start.measure(cloud, bench.payloads, folder / "worker.log") for _ in range(bench.rounds)]
    first, full = _median(one.first_result for one in starts), _median(one.full_speed for one in starts)
    yield Row("start of the process to first result, warm", f"{first:.2f} s", "<= 1.0 s", first <= 1.0)
    yield Row("start of the process to first batch at full speed", f"{full:.2f} s", "<= 1.5 s", full <= 1.5)


def _memory(_: Bench) -> Iterator[Row]:
    seen = memory.measure(MEMORY_PHOTOS)
    growth = max(seen[len(seen) // 2 :]) - max(seen[: len(seen) // 2])
    figure = f"{max(seen):.0f} MB, {growth:+.1f} MB in the second half"
    yield Row(f"memory over {MEMORY_PHOTOS:,} photos", figure, "<= 300 MB, flat", max(seen) <= 300 and growth <= 5)


def _page(bench: Bench) -> Iterator[Row]:
    for workers in (1, 2):
        rates = page.pipeline(bench.payloads, workers, bench.rounds)
        yield Row(f"uploads through the page, {workers} worker{'s' * (workers > 1)}", f"{_median(rates):.1f} images/s")


def _web(bench: Bench) -> Iterator[Row]:
    folder = bench.folder_of(PEER_BYTES, 60)
    payloads = [path.read_bytes() for path in sorted(folder.iterdir())]
    many = [payloads[number % len(payloads)] for number in range(INTAKE_PHOTOS)]
    rates = web.intake(many, bench.folder / "intake", bench.rounds)
    share = _median(ours / bare for ours, bare in rates)
    yield Row("bare Flask and one PUT, 80 KB photos", f"{_median(bare for _, bare in rates):.0f} photos/s")
    figure = f"{_median(ours for ours, _ in rates):.0f} photos/s, {share:.0%} of it"
    yield Row("intake by the API", figure, ">= 60 %", share >= 0.6)
    added = _median(web.added_seconds(many[:PHOTOS]))
    yield Row("what the web tier adds to a photo's time", f"{added * 1000:.1f} ms", "< 10 ms", added < 0.01)
    seen = web.open_pages_apart(payloads[0], OPEN_PAGES, bench.folder / "pages")
    whole = seen.results == seen.pages * web.BATCH_PHOTOS
    figure = f"{seen.megabytes:.0f} MB, {seen.results:,} results told, the last {seen.behind_seconds:.1f} s behind"
    name = f"{seen.pages} open pages on one web process"
    in_time = seen.behind_seconds < 2
    yield Row(name, figure, "<= 200 MB, all told, < 2 s behind", seen.megabytes <= 200 and whole and in_time)


def _idle(_: Bench) -> Iterator[Row]:
    seen = idle.measure()
    starts, core, room = _median(seen.starts), idle.MOST_OF_A_CORE, idle.MOST_BYTES
    yield Row("idle embedded cloud, of one core", f"{seen.share:.1%}", f"< {core:.0%}", seen.share < core)
    figure = f"{seen.resident / 1e6:.0f} MB in {seen.processes} processes"
    yield Row("idle embedded cloud, resident", figure, f"< {room / 1e6:.0f} MB", seen.resident < room)
    most = idle.MOST_START_SECONDS
    yield Row("`shoal up` to a page that answers, warm", f"{starts:.2f} s", f"< {most:.0f} s", starts < most)


def _default(bench: Bench) -> Iterator[Row]:
    engine.infer(bench.recogniser, bench.payloads[:32])  # warm
    payloads = _default_photos(bench)
    seconds = _median(page.first_label(payloads[0], bench.rounds))
    yield Row(
        "a photo on an empty pool to its label, 1 s of it the boot", f"{seconds:.2f} s", "<= 2.2 s", seconds <= 2.2
    )
    for way in default.ways():
        yield from _default_way(bench, way, _repeated(payloads, _default_count()), bench.rounds)


def _long(bench: Bench) -> Iterator[Row]:
    if default.PAGE not in default.ways():
        yield Row("a long batch through the page", f"not measured: there is no {default.CHROMIUM}")
        return
    engine.infer(bench.recogniser, bench.payloads[:32])  # warm
    payloads = _repeated(_default_photos(bench), LONG_BATCH * _default_count())
    yield from _default_way(bench, default.PAGE, payloads, 1)


def _default_count() -> int:
    return int(os.environ.get("SHOAL_BENCH_PHOTOS", DEFAULT_PHOTOS))


def _default_photos(bench: Bench) -> list[bytes]:
    found = photos.fetch(bench.settings.cache_dir)[:100]
    return [photos.in_bytes(path.read_bytes(), DEFAULT_BYTES) for path in found]


def _repeated(payloads: Sequence[bytes], count: int) -> list[bytes]:
    return [payloads[number % len(payloads)] for number in range(count)]


def _default_way(bench: Bench, way: str, payloads: Sequence[bytes], rounds: int) -> Iterator[Row]:
    seen, shares = [], []
    for _ in range(rounds):
        seen.append(default.measure(payloads, way, bench.folder))
        shares.append(seen[-1].per_second / engine.infer(bench.recogniser, bench.payloads))
    name = f"{way}, {len(payloads):,} photos, cold, default settings"
    share, most, least = _median(shares), max(one.launched for one in seen), DEFAULT_SHARES.get(way)
    figure = f"{_median([one.per_second for one in seen]):.1f} images/s, {share:.2f} of the engine"
    yield Row(name, figure, f">= {least}" if least else "", share >= least if least else None)
    yield Row("  first label", f"{_median([one.first_seconds for one in seen]):.1f} s")
    yield Row("  most workers launched", f"{most}", "<= 3", most <= 3)
    outside = _median([one.outside for one in seen])
    parts = ", ".join(f"{part} {cost:.1f}" for part, cost in seen[-1].core_ms.items())
    yield Row("  core-ms a photo outside the worker", f"{outside:.1f} ({parts})", "<= 15", outside <= 15)


def _local(bench: Bench) -> Iterator[Row]:
    folder, photos_folder = bench.folder / "local", bench.folder_of(PEER_BYTES, 60)
    folder.mkdir()
    found = local.compare(bench.recogniser, bench.settings.cache_dir, photos_folder, LOCAL_PHOTOS, bench.rounds, folder)
    for set_up, rate in found.tried.items():
        yield Row(f"{set_up}, tried", f"{rate:.1f} images/s")
    yield Row("decode + engine in one process, 80 KB photos", f"{_median(one['limit'] for one in found.rounds):.1f}")
    yield _share(f"local, {servers.CLIENTS} clients, the photo as the body", found.rounds, "body", 0.9)
    yield _share(f"local, {servers.CLIENTS} clients, a form", found.rounds, "form", 0.85)
    for peer_server in found.best:
        ratio = _median(one["body"] / one[peer_server.name] for one in found.rounds)
        rate = _median(one[peer_server.name] for one in found.rounds)
        figure = f"{rate:.1f} images/s, local does {ratio:.2f} times as many"
        yield Row(f"{peer_server}, {servers.CLIENTS} clients", figure, "local is faster", ratio > 1)
    yield from _local_alone(bench, photos_folder, folder)
    yield from _local_overload(photos_folder, _median(one["body"] for one in found.rounds), folder)


def _local_alone(bench: Bench, photos_folder: Path, folder: Path) -> Iterator[Row]:
    ours, bare = local.alone(bench.recogniser, photos_folder, folder)
    figure = f"{ours * 1000:.1f} ms, {(ours - bare) * 1000:+.1f} ms on decode + engine"
    yield Row("local, one client, median", figure, "<= +3 ms", ours - bare <= 0.003)


def _local_overload(photos_folder: Path, rate: float, folder: Path) -> Iterator[Row]:
    seen = local.overload(photos_folder, rate, folder)
    least, longest = min(seen.rates), max(seen.waited)
    figure = f"{len(seen.answered)} answered, {len(seen.refused)} refused, {len(seen.other)} others"
    yield Row(f"local, {local.OVERLOAD} times too many requests, a minute", figure, "no others", not seen.other)
    share = least / rate
    yield Row("  the slowest 10 s", f"{least:.1f} images/s, {share:.0%} of its rate", ">= 90 %", share >= 0.9)
    yield Row("  the longest wait for an answer", f"{longest:.2f} s", "<= 3 s", longest <= 3)
    first, second = (grown / 1e6 for grown in seen.growth)
    figure = (
        f"{seen.memory[-1] / 1e6:.0f} MB, {first:+.0f} MB in the first half of the minute, {second:+.0f} in the second"
    )
    yield Row("  memory", figure, "flat: <= 5 MB in the second", second <= 5)


def _lambda(bench: Bench) -> Iterator[Row]:
    payloads = [path.read_bytes() for path in sorted(bench.folder_of(PEER_BYTES, 60).iterdir())]
    seen = function.measure(payloads, bench.folder / "lambda", bench.rounds)
    added, cold = _median([one.added for one in seen]), _median([one.cold for one in seen])
    peak = max(one.peak for one in seen) / 1e6
    figure = f"{added * 1000:.1f} ms on decode + engine"
    yield Row("Lambda's handler, warm, its own time", figure, "<= +10 ms", added <= 0.01)
    yield Row("  start of its process to the first answer", f"{cold:.2f} s", "<= 1.5 s", cold <= 1.5)
    yield Row("  its memory at the peak", f"{peak:.0f} MB", "<= 452 MB", peak <= 452)
    for memory_mb in FUNCTION_SIZES:
        seconds = _median([one.billed(memory_mb) for one in seen])
        price = dollars(function_cost(memory_mb, 1000 * seconds, 1000), 2)
        yield Row(f"  with {memory_mb:,} MB, modelled", f"{seconds * 1000:.0f} ms a photo, {price} for 1,000 photos")


PARTS = {
    "labels": _labels,
    "worker": _worker,
    "start": _start,
    "memory": _memory,
    "peer": _peer,
    "page": _page,
    "web": _web,
    "idle": _idle,
    "default": _default,
    "long": _long,
    "local": _local,
    "lambda": _lambda,
}


def _median(figures: Iterator[float] | Sequence[float]) -> float:
    return statistics.median(figures)


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.machine())
    flags = next((line for line in lines if line.startswith("flags")), "")
    kinds = [name for name, flag in (("AVX2", "avx2"), ("AVX-512", "avx512f"), ("VNNI", "vnni")) if flag in flags]
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {', '.join(kinds)}"


if __name__ == "__main__":
    main()
