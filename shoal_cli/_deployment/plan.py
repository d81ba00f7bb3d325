"""`shoal plan`: what `shoal deploy` would make on AWS, what that costs, and which permissions a person needs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from shoal.deployment import costs
from shoal.deployment.choices import Choices, resources
from shoal.deployment.costs import CostLine
from shoal.folders import folder
from shoal.prices import dollars
from shoal.settings import Settings
from shoal_cli._deployment._options import (
    choices_after,
    choices_of,
    choices_options,
    deployed_settings,
    explaining,
    forget_option,
)

# In several, because a policy on AWS has at most 6,144 characters; `bake` is of who makes images alone.
PERMISSIONS = tuple(folder("ami") / f"{part}-policy.json" for part in ("deploy", "deploy-machines", "deploy-options"))
BAKING = folder("ami") / "bake-policy.json"
NOTHING_CHANGED = "Nothing was changed; `shoal plan --offline` makes no call"


@click.command()
@choices_options
@forget_option
@click.option(
    "--policy",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the permissions that a person needs into this folder, as policies, and do nothing else.",
)
@click.option("--offline", is_flag=True, help="Make no call to AWS: tell of a first deployment.")
def command(forget: bool, policy: Path | None, offline: bool, **options: Any) -> None:
    """Show what `shoal deploy` would do on AWS. Changes nothing.

    Names what would be made or changed, what it costs, and which permissions you need.
    """
    chosen = deployed_settings()
    if policy:
        _write_policies(policy, chosen.prefix)
        return
    if forget or offline:
        choices = choices_of(options)
    else:
        with explaining(NOTHING_CHANGED):
            choices = choices_after(chosen, options)
    if offline:
        made = resources(chosen, choices)
        _tell_made(made, chosen)
    else:
        made = _look(chosen, choices)
    _tell_costs(chosen, choices, made)
    click.echo(
        f"A person who deploys needs {_count_permissions()} permissions: `shoal plan --policy FOLDER` writes them."
    )


def _look(chosen: Settings, choices: Choices) -> dict[str, str]:
    """Ask AWS, tell what would be done, and return the resources that there will be."""
    from shoal.aws import region
    from shoal.aws.deploying.deployment import Deployment

    with explaining(NOTHING_CHANGED):
        found = Deployment(chosen, choices, click.echo).plan()
    click.echo(f"As {found.who}, in {region()}.")
    if found.is_new:
        _tell_made(found.made, chosen)
    elif not found.changes:
        click.echo(f"Nothing changes: the stack {chosen.prefix} is as it should be.")
    for one in found.changes:
        click.echo(f"  {one.action:<8}{one.name}  {one.kind}{'  (a new one in its place)' if one.replaced else ''}")
    if not found.has_worker_image:
        click.echo(f"There is no machine image {chosen.image} of the workers yet: `shoal bake` makes one.")
    return dict(found.made)


def _tell_made(made: Mapping[str, str], chosen: Settings) -> None:
    click.echo(f"The stack {chosen.prefix} makes {len(made)} things:")
    kinds = Counter(kind for kind in made.values())
    for kind in sorted(kinds):
        names = ", ".join(name for name, its in made.items() if its == kind)
        click.echo(f"  {kind.removeprefix('AWS::'):<40}{names}")


def _tell_costs(chosen: Settings, choices: Choices, made: dict[str, str]) -> None:
    rest, images = costs.at_rest(chosen, choices, made), costs.per_thousand(chosen)
    click.echo(f"\nA month at rest: {dollars(costs.total(rest))}")
    for line in rest:
        click.echo(_told(line))
    click.echo(f"Each 1,000 images: {dollars(costs.total(images), 2)}")
    for line in images:
        click.echo(_told(line))
    click.echo(f"({costs.noted()}; without free tiers)\n")


def _told(line: CostLine) -> str:
    amount = "no price known" if line.dollars is None else dollars(line.dollars, 2)
    return f"  {amount:>14}  {line.what}"


def _write_policies(place: Path, prefix: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for file in (*PERMISSIONS, BAKING):
        (place / file.name).write_text(file.read_text().replace("@PREFIX@", prefix))
        click.echo(f"{place / file.name}")


def _count_permissions() -> int:
    statements = [one for file in PERMISSIONS for one in json.loads(file.read_text())["Statement"]]
    return sum(len(one["Action"]) if isinstance(one["Action"], list) else 1 for one in statements)
