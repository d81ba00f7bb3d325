"""The child process of a preparation: `python -m inference.preparing.convert <request>`.

Only the child imports TensorFlow, so its memory is free when the child ends.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inference import engines, store
from inference.model import Model
from inference.preparing import agreement, architecture, sources, subprocess_task, weights
from inference.preparing.sources import FetchedWeights, Say
from shoal.errors import Permanent, Retryable

_PACKAGES = ("keras", "tensorflow", "openvino", "opencv-python-headless", "numpy")


@dataclass(frozen=True, slots=True)
class ConvertRequest:
    """The request to the child process.

    home:    the model's folder in `cache`; `scratch` is an empty folder in it.
    own:     the user's weights file, or empty.
    photos:  to compare the result on.
    check:   only compare what is there with the reference, and write nothing.
    """

    model: str
    engine: str
    cache: str
    home: str
    scratch: str
    own: str
    photos: list[str]
    check: bool = False

    def to_json(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))


def prepare(request: ConvertRequest, say: Say) -> dict[str, Any]:
    """Make the weights folder if it is missing, and the engine's folder.

    Returns {"agreement": see `agreement.measure`}, or {"no_weights": the reasons} if no source has weights.
    """
    model = store.model(request.model, Path(request.cache))
    home = Path(request.home)
    own = Path(request.own) if request.own else None
    origin = store.ready(home / store.WEIGHTS, own)
    if origin is not None:
        net = _loaded(model, home / store.WEIGHTS, say)
        return {"agreement": _make_artefact(model, net, request, origin, say)}
    fetched = sources.own(own) if own else None
    found = _filled(model, fetched, say) if fetched else _first_that_works(model, Path(request.scratch), say)
    if isinstance(found, str):
        return {"no_weights": found}
    net, fetched = found
    origin = _keep_weights(model, net, fetched, request, own)
    return {"agreement": _make_artefact(model, net, request, origin, say)}


def check(request: ConvertRequest, say: Say) -> dict[str, Any]:
    """Compare the artefact in float32 with the reference again. Returns {"agreement": ...}."""
    model = store.model(request.model, Path(request.cache))
    home = Path(request.home)
    net = _loaded(model, home / store.WEIGHTS, say)
    whole = architecture.with_preprocessing(model, net)
    return {"agreement": _compare(model, whole, request, home / request.engine, say)}


def _loaded(model: Model, folder: Path, say: Say) -> Any:
    if not model.engine:
        say("starting TensorFlow")
    say("reading the weights")
    return architecture.load(model, folder)


def _keep_weights(
    model: Model, net: Any, fetched: FetchedWeights, request: ConvertRequest, own: Path | None
) -> store.Card:
    folder = Path(request.scratch) / store.WEIGHTS
    folder.mkdir()
    if model.engine:
        shutil.copytree(fetched.path, folder, dirs_exist_ok=True)
    else:
        net.save_weights(folder / store.WEIGHTS_FILE)
    card = store.Card(
        model=model.name,
        engine=store.WEIGHTS,
        source=fetched.source,
        checksum=fetched.checksum,
        licence=fetched.licence,
        files=store.describe(folder),
        versions=versions(),
        made_at=now(),
        own_file=store.fingerprint(own) if own else (),
    )
    card.write(folder)
    store.put_in_place(folder, Path(request.home) / store.WEIGHTS)
    return card


def _first_that_works(model: Model, scratch: Path, say: Say) -> tuple[Any, FetchedWeights] | str:
    """The net with its weights, and the weights; or the reasons why no source has any that fit."""
    reasons = []
    for number, source in enumerate(model.sources):
        folder = scratch / f"fetched{number}"
        folder.mkdir()
        try:
            return _filled(model, sources.fetch(source, folder, say), say)
        except (Retryable, Permanent) as error:
            say(f"{source}: {error}")
            reasons.append(str(error))
    return "; ".join(reasons)


def _filled(model: Model, fetched: FetchedWeights, say: Say) -> tuple[Any, FetchedWeights]:
    """The net with these weights. Only now is TensorFlow needed: without weights the answer comes at once."""
    if model.engine:
        return fetched.path, fetched
    say("starting TensorFlow")
    net = architecture.stock(model)
    say(f"loading the weights from {fetched.source}")
    weights.put(model, net, fetched)
    return net, fetched


def _make_artefact(model: Model, net: Any, request: ConvertRequest, origin: store.Card, say: Say) -> dict[str, Any]:
    folder = Path(request.scratch) / request.engine
    folder.mkdir()
    say(f"converting {model.title} for {request.engine}")
    whole = architecture.with_preprocessing(model, net)
    engines.by_name(request.engine).convert(whole, folder)
    found = _compare(model, whole, request, folder, say)
    store.Card(
        model=model.name,
        engine=request.engine,
        source=origin.source,
        checksum=origin.checksum,
        licence=origin.licence,
        files=store.describe(folder),
        versions=versions(),
        made_at=now(),
        agreement=found,
        own_file=origin.own_file,
    ).write(folder)
    store.put_in_place(folder, Path(request.home) / request.engine)
    return found


def _compare(model: Model, reference: Any, request: ConvertRequest, folder: Path, say: Say) -> dict[str, Any]:
    engine = engines.by_name(request.engine)
    if model.engine:
        say(f"comparing batches with single photos, {len(request.photos)} photos")
        reference = None
    else:
        say(f"comparing it with the reference on {len(request.photos)} photos")
    return agreement.measure(model, reference, engine, folder, [Path(photo) for photo in request.photos])


def versions() -> dict[str, str]:
    """The versions of the packages that an artefact depends on."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def now() -> str:
    """The present time, for a card: ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _work(request: str, tell: subprocess_task.Tell) -> dict[str, Any]:
    asked = ConvertRequest(**json.loads(request))
    return (check if asked.check else prepare)(asked, lambda text: tell(say=text))


if __name__ == "__main__":
    subprocess_task.answer(_work)
