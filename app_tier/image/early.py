"""A worker that starts before its instance has been told anything: it loads the image's models, then waits.

On a machine that boots, the settings come with the user data, which cloud-init needs a second or more to fetch. Python
and the model need as long, and both can be done at the same time.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from inference import process
from shoal import settings
from shoal.errors import ShoalError
from shoal.lifecycle import StopSignal
from shoal.settings import Settings

log = logging.getLogger("app_tier")

LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class ReadyModels:
    """Models that are ready, and the settings that they were loaded by.

    again: whether their arithmetic was chosen anew.
    """

    by: Settings
    recogniser: process.Recogniser
    again: bool

    def serves(self, chosen: Settings) -> bool:
        """Whether `load` with these settings would give the same models."""
        return all(getattr(chosen, name) == getattr(self.by, name) for name in _CONCERNED)


# What inference.process.RecogniserSettings has.
_CONCERNED = (
    "served_models", "served_tails", "engine", "cache_dir", "model_weights", "max_pixels", "max_file_bytes",
    "precision",
)  # fmt: skip


def load(chosen: Settings) -> ReadyModels:
    """Load the models of these settings and label a blank image. Raises ShoalError."""
    again = process.choose_as_set(chosen)
    recogniser = process.load_as_set(chosen)
    recogniser.warm_up()
    return ReadyModels(chosen, recogniser, again)


def load_and_wait(file: Path, stop: StopSignal) -> ReadyModels | None:
    """Load the models that the image names, then wait until `file` is there and take its settings up.

    None when the image's models cannot be loaded: the file may name others. Returns early when it is stopped.
    """
    chosen = settings.load()
    try:
        loaded = load(chosen)
        log.info("%s loaded; the settings of this instance have %s", ", ".join(loaded.recogniser.models),
                 "come" if file.exists() else "not come yet")  # fmt: skip
    except ShoalError as error:
        log.warning("the image's models are not loaded before its settings are there: %s", error)
        loaded = None
    while not file.exists() and not stop.wait(LOOK_SECONDS):
        pass
    settings.take_up(file)
    return loaded
