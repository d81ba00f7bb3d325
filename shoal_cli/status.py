"""`shoal status`: the queues, the pool, the price of an instance, the budget, the dead letters."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from shoal import ledger_file, settings
from shoal.aws import connect_to_running
from shoal.buckets import function_use
from shoal.errors import ShoalError
from shoal.ledger import Entry, Spent
from shoal.ports import Beat, Depth, Instance, JobQueue
from shoal.prices import dollars, price_in_words, price_per_hour, unknown_types
from shoal.settings import Settings, in_force
from shoal.state_folder.page_address import page_address
from shoal_cli._batches._counted import counted
from shoal_cli._client import is_up

DAY_SECONDS = 24 * 3600.0
NO_SHARDS = Depth(0, 0, 0)


@click.command(short_help="Show the queue, the workers, the price and the budget.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(as_json: bool) -> None:
    """Show the backlog, bulk runs, the workers by state, the price of an instance, the budget and the dead letters.

    The backlog counts messages: that of a cancelled photo, too, until a worker takes it and drops it. The shards of
    bulk runs are not in it; they have a line of their own while there are any.
    """
    chosen = settings.load_with_env_file()
    cloud = connect_to_running(chosen)
    depth, dead = cloud.requests.depth(), cloud.dead_letters.depth().total
    bulk = shards_of(cloud.bulk)
    instances = sorted(cloud.pool.describe(), key=lambda one: one.launched_at)
    address = page_address(chosen)
    chosen = in_force.applied(chosen)
    last = ledger_file.last_acting(chosen.state_dir / ledger_file.NAME)
    most, held_back = chosen.max_instances, last.hindrance if last and last.backlog else ""
    function = function_use.since(cloud.outputs, chosen.lambda_prefix, time.time() - DAY_SECONDS)
    if as_json:
        told = {"page": address, "up": is_up(address), "backlog": asdict(depth), "bulk": asdict(bulk)}
        told |= {"dead_letters": dead}
        told |= {"max_instances": most, "held_back": held_back, "budget": chosen.budget_amount or None}
        told |= {"price_per_hour": price_per_hour(chosen), "unknown_prices": unknown_types(chosen)}
        labelled = {"photos_in_a_day": function.photos, "dollars": function.cost(chosen)} if function else None
        told |= {"function": labelled}
        click.echo(json.dumps(told | {"instances": [asdict(one) for one in instances]}))
        return
    console = Console(highlight=False)
    console.print(f"page         {address} {'answers' if is_up(address) else 'does not answer'}", markup=False)
    console.print(
        f"backlog      {depth.total}: {depth.visible} waiting, {depth.in_flight} in work, {depth.delayed} delayed"
    )
    if bulk.total:
        console.print(f"bulk runs    {bulk_in_words(bulk)} (see `shoal runs`)", markup=False)
    console.print(f"dead letters {dead}{' (see `shoal dlq`)' if dead else ''}", markup=False)
    reporting = cloud.register.workers()
    counts = Counter(state(one, reporting) for one in instances)
    told_states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none"
    console.print(f"workers      {told_states} (at most {most})")
    if held_back:
        console.print(f"held back    {held_back}", markup=False, soft_wrap=True)
    console.print(f"price        {price_in_words(chosen)}", markup=False, soft_wrap=True)
    if function:
        console.print(f"lambda       {function.in_words(chosen)} in the last day", markup=False, soft_wrap=True)
    if chosen.budget_amount:
        console.print(f"budget       {budget_in_words(chosen, last)}", markup=False, soft_wrap=True)
    if instances:
        table = Table("name", "instance", "state")
        for one in instances:
            table.add_row(one.name, one.id, state(one, reporting))
        console.print(table)


def shards_of(queue: JobQueue) -> Depth:
    """The counts of the queue of bulk runs; 0 where it cannot be seen, as with credentials that may not look at it."""
    try:
        return queue.depth()
    except ShoalError:
        return NO_SHARDS


def bulk_in_words(depth: Depth) -> str:
    """The shards of bulk runs that are not done: 3 shards: 2 waiting, 1 in work."""
    return f"{counted(depth.total, 'shard')}: {depth.visible + depth.delayed} waiting, {depth.in_flight} in work"


def state(one: Instance, reporting: Mapping[str, Beat]) -> str:
    """The state as EC2 names it; "leaving" for an instance that drains, and "without a worker yet" for one that runs
    and whose worker has not reported.

    reporting: what workers have reported, by the ids of their instances.
    """
    beat = reporting.get(one.id)
    leaves = one.drain_since is not None or (beat is not None and beat.leaving)
    if leaves and one.state in ("pending", "running"):
        return "leaving"
    return "without a worker yet" if one.state == "running" and beat is None else one.state


def budget_in_words(chosen: Settings, last: Entry | None) -> str:
    """The budget, what was spent of it by the controller's last entry, and why no machine may start, if so."""
    words = f"{dollars(chosen.budget_amount)} a {chosen.budget_period}".replace("a hour", "an hour")
    if last and last.spent:
        words += f", {dollars(last.spent.amount)} spent{_span(last.spent)}"
    return f"{words}; no machine may start: {last.no_launch}" if last and last.no_launch else words


def _span(spent: Spent) -> str:
    """The time that was counted. The date of its begin is said where it was not the day of its end."""
    begin, end = time.localtime(spent.since), time.localtime(spent.at)
    until = time.strftime("%H:%M", end)
    if not spent.since:
        return f" until {until}"
    if begin[:5] == end[:5]:
        return f", counted from {until} on"
    return f" from {time.strftime('%H:%M' if begin[:3] == end[:3] else '%Y-%m-%d %H:%M', begin)} to {until}"
