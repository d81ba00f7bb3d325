"""The calls into waitress that its documentation does not promise. They stand in this file alone.

A clean stop needs them: close the port, wake the loop, end the threads, and let the last answers go out. waitress keeps
them private, so `check` compares them with the version that this file was written for (3.0) before a server starts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher
from waitress.trigger import trigger

from shoal.errors import ShoalError

METHODS: tuple[tuple[type, str, tuple[str, ...]], ...] = (
    (wasyncore.dispatcher, "close", ("self",)),
    (trigger, "pull_trigger", ("self", "thunk")),
    (ThreadedTaskDispatcher, "shutdown", ("self", "cancel_pending", "timeout")),
    (TcpWSGIServer, "run", ("self",)),
)
"""Each method that is called: the class, its name, and the parameters that it must have."""

CHANNEL_ATTRIBUTES = ("total_outbufs_len",)
SERVER_ATTRIBUTES = {
    "effective_port": str,
    "active_channels": dict,
    "task_dispatcher": ThreadedTaskDispatcher,
    "trigger": trigger,
}


class WaitressMovedError(ShoalError):
    """This version of waitress differs from the one that Shoal was written for; the text says where."""


def check(server: Any) -> None:
    """Look for everything that this file uses. Raises WaitressMovedError."""
    for owner, name, expected in METHODS:
        method = getattr(owner, name, None)
        parameters = tuple(inspect.signature(method).parameters) if method else None
        if parameters != expected:
            raise WaitressMovedError(_difference(f"{owner.__name__}.{name}", expected, parameters))
    for name in CHANNEL_ATTRIBUTES:
        if not hasattr(HTTPChannel, name):
            raise WaitressMovedError(_difference(f"HTTPChannel.{name}", "a number", None))
    for name, kind in SERVER_ATTRIBUTES.items():
        value = getattr(server, name, None)
        if not isinstance(value, kind):
            raise WaitressMovedError(_difference(f"the server's {name}", kind.__name__, type(value).__name__))


def _difference(what: str, expected: object, found: object) -> str:
    return f"waitress was upgraded and {what} has moved: expected {expected}, found {found}. Pin waitress to 3.0."


def port(server: Any) -> int:
    """The port that the server listens on."""
    return int(server.effective_port)


def run_in_loop(server: Any, action: Callable[[], None]) -> None:
    """Call `action` in the thread of the server's loop, which owns all its sockets."""
    server.trigger.pull_trigger(action)


def close_port(server: Any) -> None:
    """Accept no more connections; those that are open stay. Only in the thread of the loop."""
    wasyncore.dispatcher.close(server)


def end_threads(server: Any, seconds: float) -> None:
    """Wait up to `seconds` for the requests that run, then give up the others."""
    server.task_dispatcher.shutdown(timeout=seconds)


def has_unsent(server: Any) -> bool:
    """Whether some answer is not yet at its client."""
    return any(channel.total_outbufs_len for channel in list(server.active_channels.values()))
