"""`shoal models`: prepare, list, check and measure models."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from inference import arithmetic, measured, store
from inference.arithmetic import FLOAT32, INT8
from inference.measured import Measurements, OnCpu
from inference.model import Model
from inference.pixels import PIXELS
from inference.preparing import adopt, bench, choosing
from inference.preparing import photos as photo_sources
from inference.preparing import prepare as preparation
from inference.preparing.browser import request as for_browsers
from inference.preparing.browser import unsure
from inference.preparing.sources import Say
from inference.store import Artefact, Card
from shoal import folders, settings
from shoal.errors import NotFound, Permanent, Retryable, ShoalError

PHOTOS = folders.folder("static") / "examples"
COLUMNS = ("name", "task", "served", "default", "engine", "arithmetic", "agreement", "size")
SAME = {
    "classify": "{same} of {photos} labels as {reference} gives them",
    "detect": "{same} of {photos} photos with the objects that {reference} detects",
    "emotion": "{same} of {photos} photos with the faces as {reference} reads them",
}


@click.group()
def command() -> None:
    """Prepare, list, check and measure models.

    SHOAL_MODEL, SHOAL_MODELS, SHOAL_ENGINE, SHOAL_MODEL_WEIGHTS and SHOAL_CACHE_DIR choose them.
    """


@command.command()
@click.argument("models", nargs=-1)
@click.option("--again", is_flag=True, help="Prepare again: verify the weights, fetch damaged ones, convert.")
@click.option("--browser", is_flag=True, help="Prepare instead what the page On this device needs; MODELS is not read.")
def prepare(models: tuple[str, ...], again: bool, browser: bool) -> None:
    """Fetch the weights of MODELS, convert them, compare them with Keras, and choose their arithmetic on this machine.

    Prepared models are left as they are. The default is SHOAL_MODEL and SHOAL_MODELS. SHOAL_PRECISION=float32 chooses
    nothing, SHOAL_PRECISION=int8 runs `quantize`.
    """
    chosen = settings.load()
    if browser:
        _prepare_for_browsers(chosen, again)
        return
    for model in models or chosen.served_models:
        if chosen.precision == "auto":
            _prepare_and_choose(chosen, model, again)
        else:
            _prepare(chosen, model, chosen.engine, again)
        if chosen.precision == INT8:
            _quantize(chosen, model)


@command.command()
@click.argument("model", required=False)
@click.option("--engine", required=True, help="openvino, onnxruntime or keras.")
def convert(model: str | None, engine: str) -> None:
    """Prepare a model for an engine other than SHOAL_ENGINE."""
    chosen = settings.load()
    _prepare(chosen, model or chosen.model, engine)


@command.command()
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--labels",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with a line for each class, in class order: its name, or its WordNet id, a comma and its name.",
)
@click.option(
    "--pixels",
    required=True,
    type=click.Choice(sorted(PIXELS)),
    help="The pixels it was trained on: raw 0..255, unit 0..1, tf -1..1, torch and caffe as these use for ImageNet.",
)
@click.option("--replace", is_flag=True, help="Replace a model of that name.")
def add(name: str, file: Path, labels: Path, pixels: str, replace: bool) -> None:
    """Add your classifier, a .keras, .h5 or .onnx FILE, under NAME. SHOAL_MODELS=NAME serves it."""
    chosen = settings.load()
    with steps() as say:
        adopt.adopt(name, file, labels, pixels, chosen.cache_dir, say, replace)
    _prepare(chosen, name, chosen.engine)


@command.command("quantize")
@click.argument("model", required=False)
@click.option(
    "--photos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of photos like those to be labelled, to calibrate and to compare with.",
)
def quantize_(model: str | None, photos: Path | None) -> None:
    """Convert a model to int8 and compare it with float32 on other photos. Workers that start later use the faster."""
    chosen = settings.load()
    _quantize(chosen, model or chosen.model, photos)


@command.command("list")
@click.option(
    "--json", "as_json", is_flag=True, help="A JSON list, with source, licence and the reason of each choice."
)
def list_(as_json: bool) -> None:
    """List the prepared models: task, whether they are served, arithmetic on this kind of CPU, agreement and size.

    While Shoal runs, the served models are those that its controller gives to workers.
    """
    chosen = settings.in_force.applied(settings.load())
    rows = list(_rows(chosen))
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if rows:
        table = Table(*COLUMNS, box=None)
        for row in rows:
            table.add_row(*(_cell(row[name]) for name in COLUMNS))
        # In a pipe no column is cut: a program may read it.
        Console(highlight=False, width=None if sys.stdout.isatty() else 400).print(table)
    else:
        click.echo(f"nothing in {chosen.cache_dir} yet: run `shoal models prepare`")
    for home, instead in store.stand_ins(chosen.cache_dir):
        click.echo(f"{home.name}: {instead['model']} takes its place ({instead['why']})")


@command.command()
@click.argument("model", required=False)
def check(model: str | None) -> None:
    """Read every byte of a model, and compare it with Keras again."""
    chosen = settings.load()
    name = model or chosen.model
    artefact = store.find(name, chosen.engine, chosen.cache_dir, _weights(chosen, name), chosen.precision)
    with steps() as say:
        agreement = preparation.check(artefact, chosen.cache_dir, example_photos(), say)
    others = "" if artefact.card.precision == FLOAT32 else f"; {artefact.card.precision} is whole, too"
    click.echo(
        f"{artefact.model.name} for {artefact.engine} is whole, {_agreement(agreement, artefact.model.task)}{others}"
    )
    _tell_notice(artefact)


@command.command("bench")
@click.argument("model", required=False)
def bench_(model: str | None) -> None:
    """Measure a model on each engine and in each precision that is prepared, in a new process each."""
    chosen = settings.load()
    name = model or chosen.model
    artefacts = _prepared(chosen, name)
    table = Table("engine", "precision", "start, s", "memory, MB", "own, MB", title=f"{name} on {measured.cpu()}")
    for size in bench.BATCHES:
        table.add_column(f"images/s, batch of {size}", justify="right")
    with steps() as say:
        for artefact in artefacts:
            say(f"measuring {artefact.engine} in {artefact.card.precision}")
            found = bench.measure(artefact, chosen.cache_dir)
            sizes = (f"{found[key] / 1e6:.0f}" for key in ("memory", "own"))
            rates = (f"{rate:.1f}" for rate in found["rates"].values())
            table.add_row(artefact.engine, artefact.card.precision, f"{found['start']:.2f}", *sizes, *rates)
    Console().print(table)


def example_photos() -> list[Path]:
    """The bundled photos, by name."""
    return sorted(PHOTOS.glob("*.jpg"))


def photos_at_hand(cache_dir: Path) -> list[Path]:
    """The examples, and the photos that a model is calibrated on if they can be had."""
    try:
        return [*example_photos(), *photo_sources.fetch(cache_dir)]
    except Retryable as error:
        click.echo(f"only the {len(example_photos())} examples are used: {error}", err=True)
        return example_photos()


def _prepare(chosen: settings.Settings, model: str, engine: str, again: bool = False) -> None:
    with steps() as say:
        artefact = preparation.prepare(
            model, engine, chosen.cache_dir, _weights(chosen, model), example_photos(), say, again
        )
    click.echo(f"{artefact.model.name} is ready for {artefact.engine}, {_fitness(artefact.card, artefact.model.task)}")
    _tell_notice(artefact)


def _prepare_for_browsers(chosen: settings.Settings, again: bool) -> None:
    with steps() as say:
        preparation.prepare(store.BROWSER_MODEL, chosen.engine, chosen.cache_dir, None, example_photos(), say)
        card = for_browsers.prepare(chosen.cache_dir, photos_at_hand(chosen.cache_dir), say, again)
    found = card.agreement
    click.echo(
        f"{card.model} is ready for browsers ({card.size / 1e6:.1f} MB), {found['float32']['same_label']} of "
        f"{found['photos']} labels as Keras gives them: the page /device runs it"
    )
    _learn_threshold(chosen)


def _learn_threshold(chosen: settings.Settings) -> None:
    """From which confidence on a label of the browser can stand, if the pool's model is prepared."""
    try:
        learning, judging = photo_sources.fetch_two_sources(chosen.cache_dir)
        with steps() as say:
            learned = unsure.learn(chosen.cache_dir, chosen.engine, chosen.model, learning, judging, say)
    except (NotFound, Permanent, Retryable) as error:
        click.echo(f"the page sends nothing to the pool: {error}")
        return
    click.echo(
        f"of {learned['judged_on']} other photos {learned['stay']} stay on the device, where it is "
        f"{learned['threshold']:.0%} sure; then {learned['agree']} have the label of {learned['model']}"
    )


def _prepare_and_choose(chosen: settings.Settings, model: str, again: bool) -> None:
    weights, cache_dir, photos = _weights(chosen, model), chosen.cache_dir, example_photos()
    with steps() as say:
        artefact = preparation.prepare(model, chosen.engine, cache_dir, weights, photos, say, again)
        try:
            artefact = choosing.choose(model, chosen.engine, cache_dir, weights, photos, say, again)
        except ShoalError as error:  # it can work all the same
            say(f"{artefact.model.name} stays in {artefact.precision}, no other arithmetic was tried: {error}")
    known = artefact.measured
    here = known and known.here()
    fitness = _choice(known, here) if known and here else _fitness(artefact.card, artefact.model.task)
    click.echo(f"{artefact.model.name} is ready for {artefact.engine}, {fitness}")
    _tell_notice(artefact)


def _quantize(chosen: settings.Settings, model: str, photos: Path | None = None) -> None:
    with steps() as say:
        artefact = choosing.quantize(model, chosen.engine, chosen.cache_dir, _weights(chosen, model), photos, say)
    click.echo(f"{artefact.model.name} is ready for {artefact.engine} in int8, {_quantized(artefact.card)}")


def _prepared(chosen: settings.Settings, model: str) -> list[Artefact]:
    """Every artefact of a model. Raises NotFound if there is none."""
    home = store.model_folder(store.model(model, chosen.cache_dir), chosen.cache_dir, _weights(chosen, model))
    cards = [card for folder, card in store.prepared(chosen.cache_dir) if folder.parent == home]
    found = [
        store.find(model, card.engine, chosen.cache_dir, _weights(chosen, model), card.precision)
        for card in cards
        if card.engine != store.WEIGHTS
    ]
    if not found:
        raise NotFound(f"{model} is not in {chosen.cache_dir}: run `shoal models prepare {model}`")
    return found


def _weights(chosen: settings.Settings, model: str) -> Path | None:
    """SHOAL_MODEL_WEIGHTS belongs to SHOAL_MODEL only."""
    return chosen.model_weights if model == chosen.model else None


def _tell_notice(artefact: Artefact) -> None:
    if artefact.notice:
        click.echo(f"Note: {artefact.notice}. `shoal models prepare --again` tries again.")


def _rows(chosen: settings.Settings) -> Iterator[dict[str, Any]]:
    """A row for each prepared model and engine."""
    cards: dict[tuple[Path, str], list[Card]] = {}
    for folder, card in store.prepared(chosen.cache_dir):
        if card.engine != store.WEIGHTS:
            cards.setdefault((folder.parent, card.engine), []).append(card)
    for (home, engine), found in cards.items():
        known = measured.read(home, engine, found[0].checksum)
        here = known.here() if known else None
        used = here.chosen if here else found[-1].precision
        model = _described(found[0].model, chosen.cache_dir)
        task = model.task if model else ""
        served = engine == ((model and model.engine) or chosen.engine) and home in _served(chosen)
        yield {
            "name": home.name,
            "task": task,
            "served": served,
            "default": served and home == _served(chosen)[0],
            "engine": engine,
            "arithmetic": used,
            "agreement": _agreement_of(used, task, found, known),
            "float32": next((_agreement(card.agreement, task) for card in found if card.agreement), ""),
            "int8": next((_quantized(card) for card in found if card.quantized), ""),
            "size": f"{sum(card.size for card in found) / 1e6:.3g} MB",
            "source": found[0].source,
            "licence": found[0].licence,
            "made_at": found[0].made_at,
            "choice": _choice(known, here) if known and here else "",
        }


def _served(chosen: settings.Settings) -> list[Path]:
    """The folders of the models that are served, the default first."""
    return [_home(chosen, name) for name in chosen.served_models]


def _home(chosen: settings.Settings, name: str) -> Path:
    try:
        wanted = store.model(name, chosen.cache_dir)
    except ShoalError:  # not prepared
        return chosen.cache_dir / "models" / name
    return store.model_folder(wanted, chosen.cache_dir, _weights(chosen, name))


def _described(name: str, cache_dir: Path) -> Model | None:
    try:
        return store.model(name, cache_dir)
    except ShoalError:  # its file is gone
        return None


def _agreement_of(used: str, task: str, cards: list[Card], known: Measurements | None) -> str:
    """How well the arithmetic that is used agrees with float32, or float32 with the reference."""
    if known and used in known.agreement:
        found = known.agreement[used]
        return _same(task, found.same, found.photos, "float32")
    return next((_agreement(card.agreement, task) for card in cards if card.agreement), "")


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return str(value)


def _fitness(card: Card, task: str) -> str:
    if card.quantized:
        return _quantized(card)
    return _agreement(card.agreement, task) if card.agreement else "the weights as they were fetched"


def _quantized(card: Card) -> str:
    found = card.quantized
    return (
        f"calibrated on {found['calibration']} photos, the label of float32 for {found['top1']:.1%} of "
        f"{found['held_out']} others (among the first five: {found['top5']:.1%})"
    )


def _choice(known: Measurements, here: OnCpu) -> str:
    """The arithmetic that was chosen on a kind of CPU, what it does there, and why it is no other."""
    rates = {name: one.images_per_second for name, one in here.measured.items()}
    text = f"computes in {here.chosen}: {rates[here.chosen]:.0f} images/s on {here.measured[here.chosen].cpu}"
    others = [f"{name} {rate:.0f}" for name, rate in rates.items() if name != here.chosen]
    if others:
        text += f" ({', '.join(others)})"
    if here.chosen in known.agreement:
        text += f", {known.agreement[here.chosen]}"
    reasons = list(arithmetic.choose(rates, known.agreement).refused.values())
    reasons += [f"{name} is missing: {reason}" for name, reason in known.missing.items()]
    return "; ".join([text, *reasons])


def _agreement(agreement: dict[str, Any], task: str) -> str:
    """How well the engine agrees with the reference in float32."""
    exact, reference = agreement["float32"], agreement.get("reference", "Keras")
    within = f"{exact['max_difference']:.1g}"
    return f"{_same(task, exact['same_label'], agreement['photos'], reference)} (probabilities within {within})"


def _same(task: str, same: int, photos: int, reference: str) -> str:
    """In the words of the task: for how many photos the answer is that of the reference."""
    words = SAME.get(task, SAME["classify"])
    return words.format(same=same, photos=photos, reference=reference)


@contextmanager
def steps() -> Iterator[Say]:
    """Show each step: on a terminal the current step with its seconds, in a pipe a line per step."""
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
