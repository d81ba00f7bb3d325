"""`python -m app_tier.image record|check FOLDER`: what ami/pack-worker and ami/bake ask of the models that they carry.

record FOLDER    where the models were prepared: labels FOLDER/photos with each, and writes the answers beside them; for
                 tails it writes what their heads make of the photos into FOLDER/activations, and labels that
check FOLDER     on the image: compares files and answers, chooses the arithmetic for this kind of CPU, and labels one
                 photo as a worker would

SHOAL_CACHE_DIR, SHOAL_MODEL, SHOAL_MODELS and SHOAL_TAILS choose those of `record`; it prints their names. The exit
status is 1 when something is not as it should be.
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
    chosen = settings.load()
    process.without_converter()
    try:
        if action == "record":
            for tail in chosen.served_tails:
                carried.pack(chosen, tail, folder)
            found = carried.record(chosen, chosen.served_models, chosen.served_tails, folder)
            found.write(folder)
            say(" ".join([*found.models, *found.tails]))
        else:
            _check(chosen, folder)
    except ShoalError as error:
        sys.stderr.write(f"shoal: {error}\n")
        return 1
    return 0


def say(line: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(line + "\n")


def _check(chosen: settings.Settings, folder: Path) -> None:
    found = carried.Carried.read(folder)
    models, tails = ",".join(found.models), ",".join(found.tails)
    chosen = replace(chosen, engine=found.engine, model=found.models[0], models=models, tails=tails)
    for line in carried.check(chosen, found, folder):
        say(line)
    if process.choose_as_set(chosen):
        say("the arithmetic was chosen again, for this kind of CPU")
    for model in (*found.models, *found.tails):
        began = time.perf_counter()
        one = carried.inputs(folder, model)[:1]
        [answer] = carried.label(chosen, model, "auto", one).values()  # compiles what the worker will load
        say(f"{model} labels {one[0].name} in {time.perf_counter() - began:.2f} s: {answer}")


if __name__ == "__main__":
    logs.configure("WARNING")
    sys.exit(main(sys.argv[1:]))
