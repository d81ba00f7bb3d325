"""`shoal models`: make a model ready, say what is there, verify it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from inference import prepare as preparation
from inference import store
from inference.sources import Say
from inference.store import Artefact, Card
from shoal import settings

PHOTOS = Path(__file__).parents[2] / "static" / "examples"


@click.group()
def command() -> None:
    """The models that label: SHOAL_MODEL, SHOAL_ENGINE, SHOAL_MODEL_WEIGHTS and SHOAL_CACHE_DIR choose."""


@command.command()
@click.option("--again", is_flag=True, help="Make it anew: verify the weights, fetch what is damaged, convert.")
def prepare(again: bool) -> None:
    """Fetch the weights, convert them, compare with Keras. Done at once when it was done before."""
    chosen = settings.load()
    with _steps() as say:
        artefact = preparation.prepare(
            chosen.model, chosen.engine, chosen.cache_dir, chosen.model_weights, example_photos(), say, again
        )
    click.echo(f"{artefact.model.name} is ready for {artefact.engine}, {_agreement(artefact.card.agreement)}")
    _tell_notice(artefact)


@command.command("list")
def list_() -> None:
    """What is in the cache: from where, under which licence, how well it agrees with Keras, how large."""
    cache_dir = settings.load().cache_dir
    found = list(store.prepared(cache_dir))
    if not found:
        click.echo(f"nothing in {cache_dir} yet: run `shoal models prepare`")
    for folder, card in found:
        click.echo(_line(folder, card))
    for home, instead in store.stand_ins(cache_dir):
        click.echo(f"{home.name}: {instead['model']} takes its place ({instead['why']})")


@command.command()
def check() -> None:
    """Read every byte of the chosen model, and compare it with Keras once more."""
    chosen = settings.load()
    artefact = store.find(chosen.model, chosen.engine, chosen.cache_dir, chosen.model_weights)
    with _steps() as say:
        agreement = preparation.check(artefact, example_photos(), say)
    click.echo(f"{artefact.model.name} for {artefact.engine} is whole, {_agreement(agreement)}")
    _tell_notice(artefact)


def example_photos() -> list[Path]:
    """The bundled photos, by name."""
    return sorted(PHOTOS.glob("*.jpg"))


def _tell_notice(artefact: Artefact) -> None:
    if artefact.notice:
        click.echo(f"Note: {artefact.notice}. `shoal models prepare --again` tries once more.")


def _line(folder: Path, card: Card) -> str:
    agreement = _agreement(card.agreement) if card.agreement else "the weights as they were fetched"
    return (
        f"{folder.parent.name}/{card.engine}: {card.size / 1e6:.0f} MB from {card.source}, licence {card.licence}, "
        f"{agreement}, made {card.made_at}"
    )


def _agreement(agreement: dict[str, Any]) -> str:
    found = agreement["automatic"]
    return (
        f"{found['same_label']} of {agreement['photos']} labels as Keras gives them "
        f"(probabilities within {found['max_difference']:.1g})"
    )


@contextmanager
def _steps() -> Iterator[Say]:
    """Show steps as they happen: on a terminal the current one with its seconds, in a pipe a line for each."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: click.echo(text, err=True)
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        started = time.monotonic()

        def say(text: str) -> None:
            for task in progress.task_ids:
                progress.update(task, total=1, completed=1)
            progress.add_task(escape(text), total=None)

        yield say
        for task in progress.task_ids:
            progress.update(task, total=1, completed=1)
        if progress.task_ids:
            console.print(f"took {time.monotonic() - started:.0f} s")
