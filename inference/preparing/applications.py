"""Looks up a model of keras.applications by its name.

Keras imports TensorFlow, so the look-up runs in a child process: `python -m inference.preparing.applications <name>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inference.keras_net import quiet_tensorflow
from inference.preparing import subprocess_task
from inference.preparing.sources import Say
from shoal import plugins
from shoal.errors import NotFound, Permanent

_BYTES_A_WEIGHT = 4
_CLASSES = 1000
_SIDE = 224  # pixels, for nets that accept any size: they were trained on this one


def look_up(name: str, say: Say) -> dict[str, Any]:
    """{"module", "title": of the class, "side": of its input, "size": of its weights in bytes}. Raises NotFound."""
    say(f"looking for {name} in keras.applications")
    found = subprocess_task.ask(__name__, name, lambda _: None)
    if "known" in found:
        raise NotFound(unknown(name, plugins.available("inference.models"), found["known"]))
    return found


def unknown(name: str, ours: Sequence[str], classes: Sequence[str]) -> str:
    """What is said of a name that is nobody's: names like it, or all. classes: the plain names in keras.applications.

    A class that one of our models runs is named once.
    """
    own = {plain(one) for one in ours}
    known = [*ours, *(one for one in classes if one not in own)]
    if question := plugins.meant(name, known):
        return f"there is no model {name}. {question}"
    return f"there is no model {name}; there are {', '.join(known)}, and what `shoal models add` or `shoal train` made"


def plain(name: str) -> str:
    """Normalise the name of a class or module: ResNet50V2 and resnet50_v2 are both resnet50v2."""
    return name.lower().replace("_", "")


def _look_up(name: str, _: subprocess_task.Tell) -> dict[str, Any]:
    quiet_tensorflow()
    import keras

    classes = {plain(name): name for name in dir(keras.applications) if name[0].isupper()}
    title = classes.get(plain(name))
    if title is None:
        return {"known": sorted(classes)}
    net = getattr(keras.applications, title)(weights=None)
    _, height, width, channels = net.input_shape
    if height != width or channels != 3 or net.output_shape != (None, _CLASSES):
        raise Permanent(f"{title} takes {net.input_shape} and gives {net.output_shape}, which no task here does")
    size = _BYTES_A_WEIGHT * net.count_params()
    return {"title": title, "module": _module(title), "side": height or _SIDE, "size": size}


def _module(title: str) -> str:
    """The module of keras.applications that holds the class beside its `preprocess_input`."""
    import importlib
    import pkgutil

    import keras

    names = [module.name for module in pkgutil.iter_modules(keras.applications.__path__)]
    modules = {name: importlib.import_module(f"keras.applications.{name}") for name in names}
    inside = [name for name, module in modules.items() if hasattr(module, title)]
    # Some classes are only in keras.applications; their module is named like the class without its size.
    named = [
        name for name in names if plain(title).startswith(plain(name)) and hasattr(modules[name], "preprocess_input")
    ]
    return (inside or sorted(named, key=len, reverse=True))[0]


if __name__ == "__main__":
    subprocess_task.answer(_look_up)
