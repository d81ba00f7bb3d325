"""`python -m app_tier.image record|check FOLDER`: what ami/pack-worker and ami/bake ask of the models that they carry.

record FOLDER    where the models were prepared: labels FOLDER/photos with each, and writes the answers beside them
check FOLDER     on the image: compares files and answers, chooses the arithmetic for this kind of CPU, and labels one
                 photo as a worker would

SHOAL_CACHE_DIR, SHOAL_MODEL and SHOAL_MODELS choose the models of `record`; it prints their names. The exit status is 1
when something is not as it should be.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

from app_tier.image import carried
from inference import process
from shoal import logs, settings
from shoal.errors import ShoalError


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    action, folder = arguments[0], Path(arguments[1])
    photos = sorted((folder / "photos").glob("*.jpg"))
    chosen = settings.load()
    process.without_converter()
    try:
        if action == "record":
            found = carried.record(chosen, chosen.served_models, photos)
            found.write(folder)
            say(" ".join(found.models))
        else:
            _check(chosen, folder, photos)
    except ShoalError as error:
        sys.stderr.write(f"shoal: {error}\n")
        return 1
    return 0


def say(line: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(line + "\n")


def _check(chosen: settings.Settings, folder: Path, photos: list[Path]) -> None:
    found = carried.Carried.read(folder)
    chosen = replace(chosen, engine=found.engine, model=found.models[0], models=",".join(found.models))
    for line in carried.check(chosen, found, photos):
        say(line)
    if process.choose_as_set(chosen):
        say("the arithmetic was chosen again, for this kind of CPU")
    for model in found.models:
        began = time.perf_counter()
        [answer] = carried.label(chosen, model, "auto", photos[:1]).values()  # compiles what the worker will load
        say(f"{model} labels {photos[0].name} in {time.perf_counter() - began:.2f} s: {answer}")


if __name__ == "__main__":
    logs.configure("WARNING")
    sys.exit(main(sys.argv[1:]))
