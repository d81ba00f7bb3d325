"""`shoal doctor`: check whether this machine and its cloud can run Shoal, and say what to fix."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import click
from rich.console import Console

from inference import store
from shoal import ledger_file, settings
from shoal.errors import BucketMissing, NotFound, ShoalError
from shoal.folders import folder, install_packages
from shoal.lifecycle import SERVE_LOCK, holder
from shoal.ports import Cloud, Depth, JobQueue, ObjectStore
from shoal.prices import price_in_words, unknown_types
from shoal.proxies import set_variables
from shoal.settings import Settings, in_force
from shoal.state_folder.page_address import page_address
from shoal_cli._batches._counted import counted
from shoal_cli._client import is_up
from shoal_cli._requirements import pins
from shoal_cli.status import NO_SHARDS, bulk_in_words, shards_of

ROOM_BYTES = 2 * 1024**3
MEMORY_BYTES = 1024**3
TRAINED = "trained on "  # how the source of a model of `shoal train` begins
LOGS = "read the log of a worker (`console.log` of its instance): it says why it receives nothing"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    fix:  what to do when it is not good.
    note: good, but worth reading.
    """

    what: str
    good: bool
    told: str
    fix: str = ""
    note: bool = False


@click.command(short_help="Check this machine and its cloud, and say what to fix.")
def command() -> None:
    """Check this machine and the cloud that the settings name; say what to fix. Changes nothing."""
    chosen = in_force.applied(settings.load_with_own_file())
    console = Console(highlight=False)
    bad = 0
    for found in (*_misspelt(), *_machine(chosen), *_cloud(chosen)):
        bad += not found.good
        console.print(_mark(found), end=" ")
        console.print(f"{found.what}: {found.told}", markup=False, soft_wrap=True)
        if not found.good and found.fix:
            console.print(f"    → {found.fix}", markup=False, soft_wrap=True)
    console.print(
        "Everything is in order." if not bad else f"{bad} {'thing needs' if bad == 1 else 'things need'} fixing."
    )
    if bad:
        raise SystemExit(1)


def _mark(found: Finding) -> str:
    if not found.good:
        return "[bold red]BAD [/]"
    return "[yellow]note[/]" if found.note else "[green]ok  [/]"


def _misspelt() -> Iterator[Finding]:
    for sentence in settings.misspelt().values():
        yield Finding("setting", False, sentence, "correct its name, or remove it")


def _machine(chosen: Settings) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python", (3, 11) <= sys.version_info < (3, 14), version, "install Python 3.11, 3.12 or 3.13")
    yield _packages()
    folder = next(path for path in (chosen.cache_dir, *chosen.cache_dir.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    yield Finding(
        "disk", free > ROOM_BYTES, f"{free / 1e9:.0f} GB free at {folder}", "make room, or set SHOAL_CACHE_DIR"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Finding(
        "memory", memory > MEMORY_BYTES, f"{memory / 1e9:.0f} GB, {os.cpu_count()} cores", "use a larger machine"
    )
    for name in chosen.served_models:
        yield _tried(f"model {name}", partial(_model, chosen, name), "run `shoal models prepare`")
    if proxies := set_variables(os.environ):
        told = ", ".join(f"{name}={value}" for name, value in proxies.items())
        yield Finding("proxy", True, f"{told}; calls to this machine and to metadata go through none", note=True)
    going_by = in_force.applied(chosen)
    yield Finding("price", True, price_in_words(going_by), note=bool(unknown_types(going_by)))


def _packages() -> Finding:
    parts = ("worker", "web", "prepare", "local-cloud")
    wanted = sorted({pin for part in parts for pin in pins(folder("requirements") / f"{part}.txt")})
    wrong = [pin for pin in wanted if not _installed(*pin.split("==", 1))]
    told = f"{len(wrong)} missing or of another version ({', '.join(wrong[:3])})" if wrong else "as pinned"
    return Finding("packages", not wrong, told, install_packages())


def _installed(name: str, version: str) -> bool:
    try:
        return importlib.metadata.version(name.partition("[")[0]) == version
    except importlib.metadata.PackageNotFoundError:
        return False


def _model(chosen: Settings, name: str) -> str:
    weights = chosen.model_weights if name == chosen.model else None
    found = store.find(name, chosen.engine, chosen.cache_dir, weights, chosen.precision)
    source = found.card.source
    made = source if source.startswith(TRAINED) else f"from {source}"
    return found.notice or f"prepared for {found.engine}, computes in {found.precision}, {made}"


def _cloud(chosen: Settings) -> Iterator[Finding]:
    from shoal.aws import (
        check_last_net,
        connect,
        look_at_bucket,
        look_at_image,
        look_at_role,
        look_at_types,
        region,
    )

    endpoint = chosen.cloud.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT_URL", "")
    where = f"embedded, at {endpoint}" if endpoint else "AWS"
    start = "start the system with `shoal up`"
    start += "" if endpoint else ", or set AWS_DEFAULT_REGION and credentials for AWS"
    try:
        cloud = connect(chosen)
    except ShoalError as error:
        serves = holder(chosen.state_dir / SERVE_LOCK) is not None
        yield Finding("cloud", serves, "none: `shoal serve` labels photos itself" if serves else str(error), start)
        if serves:
            page = _page(chosen)
            yield (
                page if page.good else replace(page, good=True, told=f"{page.told}: has it another --port?", note=True)
            )
        return
    try:
        _look(cloud.inputs)
    except BucketMissing:
        pass  # told below, with the name of the bucket
    except ShoalError as error:
        # The cause of all that would follow.
        yield Finding("cloud", False, str(error), start)
        return
    yield Finding("cloud", True, f"{where}, region {region()}")
    make = "run `shoal prepare`, or `shoal up` for an embedded cloud"
    for name in (chosen.in_bucket, chosen.out_bucket):
        yield _tried(f"bucket {name}", partial(look_at_bucket, chosen, name), make)
    for name, queue in (
        (chosen.req_queue, cloud.requests),
        (chosen.resp_queue, cloud.responses),
        (chosen.dead_queue, cloud.dead_letters),
        (chosen.term_queue, cloud.terminations),
        (chosen.bulk_queue, cloud.bulk),
    ):
        yield _tried(f"queue {name}", partial(_count, queue), make)
    yield _tried("dead letters", partial(check_last_net, chosen), make)
    yield _tried(
        f"table {chosen.pool_table}", lambda: f"{counted(len(cloud.register.workers()), 'worker')} in it", make
    )
    yield _allowed(_tried(f"role {chosen.role}", partial(look_at_role, chosen), make))
    yield _allowed(_tried(f"image {chosen.image}", partial(look_at_image, chosen), "bake one, or set SHOAL_AMI"))
    yield _allowed(_tried("instance types", partial(look_at_types, chosen)))
    if chosen.served_tails:
        yield _tails(chosen)
    yield _tried("workers", partial(_instances, cloud, chosen), start)
    yield _progress(chosen, shards_of(cloud.bulk))
    yield _page(chosen)


def _tails(chosen: Settings) -> Finding:
    """The function of the venue `split`. Where it was not made, workers run the tails: that is no fault."""
    from shoal.aws import find_tail_function

    what, make = f"function {chosen.tail_function}", "run `shoal prepare --venue split` again"
    try:
        found = find_tail_function(chosen)
    except NotFound:
        return Finding(what, True, "not made, so that workers alone run tails (`shoal prepare --venue split`)")
    except ShoalError as error:
        return _allowed(Finding(what, False, str(error), make))
    missing = [tail for tail in chosen.served_tails if tail not in found.tails]
    if missing:
        return Finding(what, False, f"it does not run {', '.join(missing)}", make)
    return Finding(what, True, f"runs {', '.join(found.tails)}, for signed calls, {found.memory_mb} MB")


def _page(chosen: Settings) -> Finding:
    address = page_address(chosen)
    up = is_up(address)
    return Finding(
        "page", up, f"{address} {'answers' if up else 'does not answer'}", "run `shoal up`, or python -m web_tier"
    )


def _allowed(found: Finding) -> Finding:
    """That these credentials may not look is no fault: the controller's and the web tier's need not."""
    denied = not found.good and ("AccessDenied" in found.told or "UnauthorizedOperation" in found.told)
    return replace(found, good=True, note=True) if denied else found


def _progress(chosen: Settings, bulk: Depth = NO_SHARDS) -> Finding:
    """Whether the photos that wait get on, by the controller's last entry. bulk: the shards of bulk runs."""
    runs = f"; bulk runs: {bulk_in_words(bulk)}" if bulk.total else ""
    last = ledger_file.last_acting(chosen.state_dir / ledger_file.NAME)
    if last is None:
        return Finding("progress", True, f"the controller's ledger is not on this machine, or is empty{runs}")
    if last.standstill:
        fix = "free the store's disk, or see whether S3 answers the workers" if "store" in last.standstill else LOGS
        return Finding("progress", False, last.standstill, fix)
    if last.backlog and last.hindrance:
        fix = "see `shoal why`; `shoal set` changes the budget and the limits"
        some = bool(last.machines)
        return Finding("progress", some, last.hindrance, fix, note=some)
    told = f"{counted(last.backlog, 'photo')} {'waits or is' if last.backlog == 1 else 'wait or are'} worked on"
    if lost := last.pool.lost:
        words = "1 worker does not work and is" if lost == 1 else f"{lost} workers do not work and are"
        told = f"{words} being replaced, `shoal why` says why"
    return Finding("progress", True, told + runs, note=bool(lost))


def _instances(cloud: Cloud, chosen: Settings) -> str:
    return f"{counted(len(cloud.pool.describe()), 'instance')}, at most {chosen.max_instances}"


def _look(bucket: ObjectStore) -> str:
    next(iter(bucket.list("-")), None)
    return "answers"


def _count(queue: JobQueue) -> str:
    return counted(queue.depth().total, "message")


def _tried(what: str, look: Callable[[], str], fix: str = "") -> Finding:
    """fix: "" where the error itself says what to do."""
    try:
        return Finding(what, True, look())
    except ShoalError as error:
        return Finding(what, False, str(error), fix)
