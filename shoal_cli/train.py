"""`shoal train`: train a model on folders of labelled photos."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from inference.photo_folders import readable
from inference.training.none_of_these import MOST_TURNED_AWAY, TURNED_AWAY
from inference.training.recipe import SCRATCH_NETS, Recipe
from inference.training.run import train
from inference.training.views import KINDS
from shoal import settings
from shoal_cli.models import example_photos

_STOPPED = 130  # the status of a shell for a Ctrl-C


@click.command()
@click.option(
    "--dataset",
    required=True,
    type=click.Path(path_type=Path),
    help="A folder with a folder of photos for each class (also in folders such as train, valid and test), or a .npz "
    "file of x_train, y_train, x_test, y_test.",
)
@click.option("--name", metavar="NAME", help="The name of the new model. [default: the dataset's name]")
@click.option(
    "--backbone",
    default="resnet50",
    metavar="MODEL",
    show_default=True,
    help="The pretrained model whose features are used.",
)
@click.option(
    "--unfreeze",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="After the head, train the last N layers of the backbone too.",
)
@click.option(
    "--views",
    type=click.IntRange(0, 20),
    default=2,
    show_default=True,
    metavar="N",
    help="The number of altered copies of each photo (see --augment) for a frozen backbone, besides the photo.",
)
@click.option(
    "--from-scratch",
    type=click.Choice(SCRATCH_NETS),
    help="Train a whole net for small pictures. flat: 128 hidden units; resnet_small: 14 layers.",
)
@click.option(
    "--side",
    type=click.IntRange(8, 128),
    default=32,
    show_default=True,
    metavar="PIXELS",
    help="The side of the input of a net from scratch.",
)
@click.option("--grey", is_flag=True, help="A net from scratch drops colours.")
@click.option(
    "--augment",
    type=click.Choice(KINDS),
    help="How training pictures are altered: mirror (random crops, half of them mirrored), shift (moved "
    "a little; for digits and letters), none. [default: mirror; from scratch: shift]",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    metavar="N",
    help="The largest number in each stage; a stage stops when it no longer improves. [default: 100 for the head, 10 "
    "unfrozen, 40 from scratch]",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, 1, min_open=True),
    help="The learning rate. [default: 3e-5 unfrozen, 1e-3 from scratch]",
)
@click.option(
    "--test",
    type=click.FloatRange(0.05, 0.5),
    default=0.2,
    show_default=True,
    metavar="SHARE",
    help="The share of each class that is kept to measure the accuracy.",
)
@click.option(
    "--validation",
    type=click.FloatRange(0.05, 0.5),
    default=0.15,
    show_default=True,
    metavar="SHARE",
    help="The share of each class that decides when to stop.",
)
@click.option(
    "--none-of-these",
    type=click.FloatRange(0, MOST_TURNED_AWAY),
    default=TURNED_AWAY,
    show_default=True,
    metavar="SHARE",
    help="The share of rightly labelled photos that may get the answer none_of_these, for photos unlike all classes; "
    "0 for a model without that answer.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="The same seed gives the same parts and the same model.",
)
@click.option("--replace", is_flag=True, help="Replace a model of that name.")
def command(dataset: Path, name: str | None, replace: bool, from_scratch: str | None, **options: Any) -> None:
    """Train a model on your photos.

    Put the photos of each class into a folder of its own, at least 5 photos each, better some dozens. The photos go
    once through a pretrained model, then a last layer is trained. Some hundred photos take seconds on two cores. Files
    that cannot be read are named and skipped.

    The new model is in the cache (SHOAL_CACHE_DIR) with a report: the accuracy on test photos, the confusion matrix and
    the mistakes.

    \b
      shoal train --dataset photos/ --name birds
      shoal train --dataset photos/ --name birds --unfreeze 6 --replace
      shoal train --dataset digits.npz --name digits --from-scratch resnet_small --grey
    """
    chosen = settings.load()
    if from_scratch:
        options |= {"backbone": "", "scratch_net": from_scratch}
    given = {key: value for key, value in options.items() if value is not None}
    augment = {"augment": "shift"} if from_scratch else {}
    recipe = Recipe(name=name or _name(dataset), **{**augment, **given})
    limits = (chosen.max_pixels, chosen.max_file_bytes)
    try:
        with _progress() as listen:
            photos, asked = example_photos(), readable(shlex.join(["shoal", *sys.argv[1:]]))
            done = train(recipe, dataset, chosen.engine, chosen.cache_dir, photos, limits, listen, replace, asked)
    except KeyboardInterrupt:
        click.echo("stopped: nothing was changed", err=True)
        sys.exit(_STOPPED)
    _tell(recipe, done)


def _name(dataset: Path) -> str:
    return dataset.resolve().stem.lower().replace(" ", "-")


def _tell(recipe: Recipe, done: dict[str, Any]) -> None:
    for line in done["skipped"]:
        click.echo(f"skipped {line}")
    click.echo(f"{recipe.name}: {done['accuracy']}")
    if done["too_few"]:
        click.echo(f"Beware: {done['too_few']}")
    if done["none_of_these"]:
        click.echo(f"none of these: {done['none_of_these']}")
    if "no_report" in done:
        click.echo(f"the model is kept, but its report could not be written: {done['no_report']}", err=True)
    else:
        click.echo(f"report: {Path(done['folder']) / 'report' / 'report.html'}")
    served = ",".join(dict.fromkeys([*settings.in_force.applied(settings.load()).served_models[1:], recipe.name]))
    click.echo(f"to serve it: SHOAL_MODELS={served} shoal up (stop one that runs), then ask for model={recipe.name}")


Listen = Callable[[dict[str, Any]], None]


@contextmanager
def _progress() -> Iterator[Listen]:
    """Show each step: on a terminal the current step with its seconds, in a pipe a line per step."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _lines()
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as progress:
        began, current = time.monotonic(), ""

        def listen(fields: dict[str, Any]) -> None:
            nonlocal current
            text = fields.get("say") or fields["step"]
            if text != current:
                _finish(progress)
                progress.add_task(escape(text), total=None)
                current = text
            if "of" in fields:
                note = f", {fields['note']}" if "note" in fields else ""
                text = f"{escape(text)}: {fields['at']} of {fields['of']}{note}"
                progress.update(progress.task_ids[-1], description=text)

        yield listen
        _finish(progress)
    console.print(f"took {time.monotonic() - began:.0f} s")


def _finish(progress: Any) -> None:
    """Mark the last task as finished."""
    for task in progress.tasks[-1:]:
        progress.update(task.id, total=1, completed=1)


def _lines() -> Listen:
    """Print a line for each step, and one for each tenth of a step with figures."""
    current, tenth = "", 0

    def listen(fields: dict[str, Any]) -> None:
        nonlocal current, tenth
        text = fields.get("say") or fields["step"]
        if text != current:
            click.echo(text, err=True)
            current, tenth = text, 0
        if "note" in fields and fields["at"] * 10 // fields["of"] > tenth:
            tenth = fields["at"] * 10 // fields["of"]
            click.echo(f"  epoch {fields['at']} of at most {fields['of']}: {fields['note']}", err=True)

    return listen
