"""The child process of a preparation, `python -m inference.convert <request>`: TensorFlow lives and dies here.

It writes a line of JSON to its standard output for every step, {"say": text}, and at the end {"done": {...}} or
{"error": text, "kind": class of shoal.errors, "no_weights": whether no source gave any}. Everything else that is
printed, TensorFlow's chatter above all, goes to the standard error.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import sys
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inference import agreement, architecture, engines, sources, store, weights
from inference import model as models
from inference.model import Model
from inference.sources import Fetched, Say
from shoal.errors import Permanent, Retryable, ShoalError

_PACKAGES = ("keras", "tensorflow", "openvino", "numpy")


@dataclass(frozen=True, slots=True)
class Request:
    """What the parent asks for. `home` is the model's folder in the cache, `scratch` an empty folder in it; `photos`
    are what the result is checked with; `check` compares what is there and writes nothing."""

    model: str
    engine: str
    home: str
    scratch: str
    own: str
    photos: list[str]
    check: bool = False

    def to_json(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))


class NoWeights(Retryable):
    """No source gave weights; its text has every source's reason."""


def prepare(request: Request, say: Say) -> dict[str, Any]:
    """Make the weights' folder, if it is not there, and the engine's."""
    model = models.by_name(request.model)
    say("starting TensorFlow")
    net = architecture.stock(model)
    home = Path(request.home)
    own = Path(request.own) if request.own else None
    origin = store.ready(home / store.WEIGHTS, own)
    if origin is None:
        origin = _make_weights(model, net, request, own, say)
    else:
        say("reading the weights")
        net.load_weights(home / store.WEIGHTS / store.WEIGHTS_FILE)
    return _make_artefact(model, net, request, origin, say)


def check(request: Request, say: Say) -> dict[str, Any]:
    """Compare what is in the cache with Keras once more; the result is `agreement.measure`'s."""
    model = models.by_name(request.model)
    say("starting TensorFlow")
    net = architecture.stock(model)
    home = Path(request.home)
    net.load_weights(home / store.WEIGHTS / store.WEIGHTS_FILE)
    return _compare(model, net, request, home / request.engine, say)


def _make_weights(model: Model, net: Any, request: Request, own: Path | None, say: Say) -> store.Card:
    scratch = Path(request.scratch)
    fetched = _fill(model, net, sources.own(own), say) if own else _first_that_works(model, net, scratch, say)
    folder = scratch / store.WEIGHTS
    folder.mkdir()
    net.save_weights(folder / store.WEIGHTS_FILE)
    card = store.Card(
        model=model.name,
        engine=store.WEIGHTS,
        source=fetched.source,
        checksum=fetched.checksum,
        licence=fetched.licence,
        files=store.describe(folder),
        versions=_versions(),
        made_at=_now(),
        own_file=store.fingerprint(own) if own else (),
    )
    card.write(folder)
    store.put_in_place(folder, Path(request.home) / store.WEIGHTS)
    return card


def _first_that_works(model: Model, net: Any, scratch: Path, say: Say) -> Fetched:
    reasons = []
    for number, source in enumerate(model.sources):
        folder = scratch / f"fetched{number}"
        folder.mkdir()
        try:
            return _fill(model, net, sources.fetch(source, folder, say), say)
        except (Retryable, Permanent) as error:
            say(f"{source}: {error}")
            reasons.append(str(error))
    raise NoWeights("; ".join(reasons))


def _fill(model: Model, net: Any, fetched: Fetched, say: Say) -> Fetched:
    say(f"loading the weights from {fetched.source}")
    weights.put(model, net, fetched)
    return fetched


def _make_artefact(model: Model, net: Any, request: Request, origin: store.Card, say: Say) -> dict[str, Any]:
    folder = Path(request.scratch) / request.engine
    folder.mkdir()
    say(f"converting {model.title} for {request.engine}")
    engines.by_name(request.engine).convert(model, net, folder)
    found = _compare(model, net, request, folder, say)
    store.Card(
        model=model.name,
        engine=request.engine,
        source=origin.source,
        checksum=origin.checksum,
        licence=origin.licence,
        files=store.describe(folder),
        versions=_versions(),
        made_at=_now(),
        agreement=found,
        own_file=origin.own_file,
    ).write(folder)
    store.put_in_place(folder, Path(request.home) / request.engine)
    return found


def _compare(model: Model, net: Any, request: Request, folder: Path, say: Say) -> dict[str, Any]:
    say(f"comparing it with Keras on {len(request.photos)} photos")
    return agreement.measure(
        model, net, engines.by_name(request.engine), folder, [Path(photo) for photo in request.photos]
    )


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _end_with_parent() -> None:
    """The parent holds the other end of the standard input: when that closes, the parent is dead, and its lock gone."""

    def watch() -> None:
        os.read(0, 1)  # not sys.stdin: its lock, held by a daemon thread, would abort the interpreter's shutdown
        os.killpg(0, signal.SIGKILL)  # npm or pip, which may be at work, with it

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Do what the request says."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _end_with_parent()

    def answer(**fields: Any) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    request = Request(**json.loads(sys.argv[1]))
    try:
        done = (check if request.check else prepare)(request, lambda text: answer(say=text))
    except ShoalError as error:
        kind = "Retryable" if isinstance(error, Retryable) else "Permanent"
        answer(error=str(error), kind=kind, no_weights=isinstance(error, NoWeights))
    except OSError as error:
        answer(
            error=f"{error.strerror or error} ({error.filename or request.home})", kind="Permanent", no_weights=False
        )
    else:
        answer(done=done)


if __name__ == "__main__":
    main()
