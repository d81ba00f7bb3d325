"""Prepared models of all tasks, and photos of things and people."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from benchmarks import photos
from inference import process, store
from inference.answer import Answer
from inference.arithmetic import FLOAT32
from inference.preparing import prepare as preparation
from inference.store import Artefact
from shoal import settings
from tests.inference_fixtures import EXAMPLES, MAX_BYTES, MAX_PIXELS, PHOTOS


@cache
def artefact(model: str) -> Artefact:
    """The model in float32, in the real cache, for OpenVINO or the engine that it names."""
    place = settings.load().cache_dir
    preparation.prepare(model, "openvino", place, None, PHOTOS, print)
    return store.find(model, "openvino", place, precision=FLOAT32)


@cache
def recogniser(model: str) -> process.Recogniser:
    """The model on its engine, from the real cache."""
    artefact(model)
    place = settings.load().cache_dir
    return process.load([model], "openvino", place, None, MAX_PIXELS, MAX_BYTES, precision=FLOAT32)


def answer(model: str, payload: bytes) -> Answer:
    """What the model says of an image file."""
    return recogniser(model).infer("", [recogniser(model).decode("", payload)])[0]


@cache
def photo(name: str) -> Path:
    """An example photo, or one of those that benchmarks fetch, by the beginning of its file's name."""
    here = EXAMPLES / name
    if here.is_file():
        return here
    return next(path for path in photos.fetch(settings.load().cache_dir) if path.name.startswith(name))
