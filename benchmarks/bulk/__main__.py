"""`python -m benchmarks.bulk COMMAND`: measures bulk runs. docs/bulk.md has the figures."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.bulk.beside import p95, waits
from benchmarks.bulk.first import first_result, memory
from benchmarks.bulk.killed import killed as run_killed
from benchmarks.bulk.listing import lists
from benchmarks.bulk.one_worker import works
from benchmarks.bulk.price import DECODE_SECONDS, EXTRA_PER_HOUR, PHOTO_BYTES, SHARE, TYPES, of_a_million
from shoal.errors import Permanent

console = Console(highlight=False)


@click.group()
def main() -> None:
    """Measure bulk runs."""


@main.command()
@click.option("--objects", default=2000, show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--rate", default=1.0, show_default=True, help="A factor on how often the cloud fails by itself.")
def killed(objects: int, seeds: int, rate: float) -> None:
    """Every key exactly once, while everything is killed. Exits with 1 otherwise."""
    table = Table("seed", "objects", "seconds", "done to it", "wrong")
    wrong = False
    for seed in range(1, seeds + 1):
        with tempfile.TemporaryDirectory(prefix="shoal-bulk-") as folder:
            outcome = run_killed(Path(folder), seed, objects, rate)
        done = ", ".join(f"{count} x {what}" for what, count in sorted(outcome.counts.items()))
        told = "\n".join(outcome.wrong[:5]) or "nothing"
        table.add_row(str(seed), str(objects), f"{outcome.seconds:.0f}", done, told)
        wrong = wrong or bool(outcome.wrong)
    console.print(table)
    sys.exit(wrong)


@main.command("listing")
@click.option("--keys", default=1_000_000, show_default=True)
def listing_(keys: int) -> None:
    """Keys a second from a listing to the queue against the ports in memory, and the memory that it takes."""
    rate, first, peak = lists(keys)
    console.print(f"{keys:,} keys: {rate:,.0f} a second, first shard sent after {first:.2f} s, memory +{peak:.1f} MB")


@main.command()
@click.option("--keys", default=1_000_000, show_default=True)
@click.option("--page-ms", default=100.0, show_default=True, help="That S3 takes to list 1,000 keys.")
@click.option("--workers", default=2, show_default=True, help="That wait for work, with a stub for an engine.")
def first(keys: int, page_ms: float, workers: int) -> None:
    """Seconds from the command to the first results, against the ports in memory."""
    found = first_result(keys, page_ms / 1000, workers)
    console.print(
        f"{keys:,} keys: counted after {found.counted:.1f} s, first results stored after {found.stored:.1f} s"
    )


@main.command("memory")
@click.option("--keys", default=1_000_000, show_default=True)
def memory_(keys: int) -> None:
    """The memory of a process that counts, begins, lists and looks on, against the ports in memory."""
    before, peak = memory(keys)
    console.print(f"{keys:,} keys: {before:.0f} MB before, {peak:.0f} MB at the most")


@main.command("one-worker")
@click.option("--photos", default=2000, show_default=True)
@click.option("--delay", default=0.02, show_default=True, help="Seconds that each call to the store takes.")
def one_worker(photos: int, delay: float) -> None:
    """The share of the speed of decoding and inference alone that a shard reaches, the store being slow."""
    alone, shard = works(photos, delay)
    console.print(f"decode + engine {alone:.1f} photos/s, a run {shard:.1f} photos/s: {shard / alone:.1%}")


@main.command()
@click.option("--photos", default=100, show_default=True, help="That people send, one after another.")
@click.option("--objects", default=5000, show_default=True, help="That the run has.")
def beside(photos: int, objects: int) -> None:
    """How long people wait on an idle system and beside a run. One worker."""
    idle, busy, rate = waits(photos, objects)
    for told, seconds in (("idle", idle), ("beside a run", busy)):
        console.print(f"{told}: p50 {statistics.median(seconds) * 1000:.0f} ms, p95 {p95(seconds) * 1000:.0f} ms")
    console.print(f"p95 is {p95(busy) / p95(idle):.2f} times as long; the run did {rate:.1f} photos/s meanwhile")


@main.command()
@click.argument("types", nargs=-1)
@click.option("--decode-ms", default=DECODE_SECONDS * 1000, show_default=True, help="Of one core, for a photo.")
@click.option("--share", default=SHARE, show_default=True, help="Of the speed of decoder and engine that is reached.")
def price(types: tuple[str, ...], decode_ms: float, share: float) -> None:
    """What a million images cost with ResNet50, on demand, by instance type. Reckoned, makes no call."""
    try:
        found = of_a_million(types or TYPES, decode_ms / 1000, share)
    except Permanent as error:
        raise click.ClickException(str(error)) from None
    click.echo("type          images/s        hours  shards  computing  requests  together  a month's keeping")
    for one in found:
        rate = f"{one.images_per_second:6.1f} {one.arithmetic:<8}"
        click.echo(
            f"{one.type:<12}  {rate}  {one.hours:4.1f}   {one.shards:,}      ${one.computing:.2f}     "
            f"${one.requests:.2f}     ${one.total:.2f}              ${one.storage_month:.2f}"
        )
    click.echo(
        f"The engine's speed as in `shoal instance-types`; {decode_ms:g} ms of a core to decode "
        f"{PHOTO_BYTES / 1000:.0f} KB; {share:.0%} of both together.\n"
        f"A worker's address and disk: ${EXTRA_PER_HOUR:g} an hour. Prices of us-east-1 as in shoal/prices.csv and\n"
        "runs/costs.py, unverified. Not in it: the page, the controller, starts of workers, keys of KMS."
    )


if __name__ == "__main__":
    main()
