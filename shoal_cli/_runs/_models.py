"""The models that a run may ask for, and which one answers."""

from __future__ import annotations

from contextlib import suppress

from inference import store
from runs.run import Run
from shoal.errors import ShoalError
from shoal.ports import Cloud
from shoal.settings import Settings, in_force
from shoal_cli._client import not_served


def served(cloud: Cloud, chosen: Settings) -> tuple[str, ...]:
    """The models of the running Shoal, the default first; empty when nobody here can tell.

    The controller of this state folder knows them. Where it runs elsewhere (on AWS), the workers tell theirs, if there
    are any.
    """
    if in_force.read(chosen.state_dir):
        return in_force.applied(chosen).served_models
    try:
        beats = cloud.register.workers().values()
    except ShoalError:
        return ()
    return tuple(dict.fromkeys(name for beat in beats for name in beat.model.split(", ") if name))


def check_model(model: str, names: tuple[str, ...]) -> None:
    """Raise Permanent unless `model` is one of the served ones. With no names nothing is known, and none is refused."""
    if model and names and model not in names:
        raise not_served(model, names)


def answering(cloud: Cloud, chosen: Settings, run: Run) -> str:
    """The model that labels the photos of a run: its own, the default, or a stand-in. Empty when it is not known."""
    name = run.model or next(iter(served(cloud, chosen)), "")
    if name:
        now = in_force.applied(chosen)
        weights = now.model_weights if name == now.model else None
        with suppress(ShoalError):  # not prepared on this machine: the workers have it
            return store.find(name, now.engine, now.cache_dir, weights, now.precision).model.name
    return name
