"""What the child process that makes a model for browsers is asked, and the question."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from inference import store
from inference.preparing import subprocess_task
from inference.preparing.browser import runtime
from inference.preparing.prepare import locked
from inference.preparing.sources import Say
from inference.store import Card
from shoal.errors import Permanent

PAGE_FILES = ("model.onnx.gz", "classes.json.gz")
HEAD_FILE = "head.onnx.gz"
AGREEING = 0.98  # of the photos: a net that gives the label of Keras for fewer of them is not used


@dataclass(frozen=True, slots=True)
class BrowserRequest:
    """The request: write the model into the empty folder `target`, and compare it on the photos.

    cut: write the head of this cut instead, and compare it together with the tail that is prepared for `engine`.
    """

    model: str
    cache: str
    target: str
    photos: list[str]
    cut: str = ""
    engine: str = ""


def prepare(cache_dir: Path, photos: Sequence[Path], say: Say, again: bool = False) -> Card:
    """Make the program and the model ready for browsers; return the model's card. Return at once if they are ready.

    photos: to compare the model with Keras before it is put in place.

    The model itself must be prepared. Raises Retryable or Permanent.
    """
    model = store.model(store.BROWSER_MODEL, cache_dir)
    if model.task != "classify":
        raise Permanent(f"{model.title} is no classifier of whole photos: browsers run no other")
    home = cache_dir / store.BROWSER
    runtime.fetch(cache_dir, say, again)
    with locked(home, say):
        scratch = Path(tempfile.mkdtemp(prefix=".scratch-", dir=home))
        try:
            target = store.browser_folder(store.BROWSER_MODEL, cache_dir)
            card = None if again else store.ready(target)
            if card is None:
                made = scratch / store.BROWSER_MODEL
                made.mkdir()
                asked = BrowserRequest(
                    store.BROWSER_MODEL, str(cache_dir.resolve()), str(made), [str(photo.resolve()) for photo in photos]
                )
                subprocess_task.ask(
                    "inference.preparing.browser", json.dumps(asdict(asked)), lambda fields: say(fields["say"])
                )
                shutil.rmtree(target, ignore_errors=True)
                store.put_in_place(made, target)
                card = Card.read(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    if card is None:
        raise Permanent(f"{home} cannot be read: run `shoal models prepare --browser` again")
    return card
