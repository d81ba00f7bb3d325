"""The messages of the bulk queue, the slow lane: list on, label a shard, finish. Each may come again. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass

from shoal.errors import MalformedMessage
from shoal.messages import is_batch
from shoal.safe_json import integer, read_object

VERSION = 1
LARGEST = 10**8  # steps and shards have eight digits


@dataclass(frozen=True, slots=True)
class ListOn:
    """Do this step of a run's listing."""

    run: str
    step: int

    def to_json(self) -> str:
        """The body of the message."""
        return _body(self.run, list=self.step)


@dataclass(frozen=True, slots=True)
class LabelShard:
    """Label the photos of this shard."""

    run: str
    shard: int

    def to_json(self) -> str:
        """The body of the message."""
        return _body(self.run, shard=self.shard)


@dataclass(frozen=True, slots=True)
class Finish:
    """Put a run's results together: all its shards are done."""

    run: str

    def to_json(self) -> str:
        """The body of the message."""
        return _body(self.run, finish=0)


Order = ListOn | LabelShard | Finish


def read_order(body: str) -> Order:
    """Raises MalformedMessage."""
    found = read_object(body)
    run = found.get("run")
    if found.get("v") != VERSION or not isinstance(run, str) or not is_batch(run):
        raise MalformedMessage("not a message of a run")
    for name, make in (("list", ListOn), ("shard", LabelShard)):
        if name in found:
            return make(run, _number(found[name]))
    if "finish" in found:
        return Finish(run)
    raise MalformedMessage("not a message of a run: it says neither list nor shard nor finish")


def _number(value: object) -> int:
    try:
        found = integer(value)
    except (TypeError, ValueError) as error:
        raise MalformedMessage(f"not a message of a run: {error}") from error
    if not 0 <= found < LARGEST:
        raise MalformedMessage("not a message of a run: its number is out of range")
    return found


def _body(run: str, **what: int) -> str:
    return json.dumps({"v": VERSION, "run": run} | what, separators=(",", ":"))
