"""Writes ministack's state to disk while it runs, so that kill -9 loses little more than the last second.

ministack writes objects at once. It writes everything else (queues and their messages, tables, topics, functions) only
when it stops. After a change, this ASGI layer forks a child that writes that as well. The child has a copy of the
state at the moment of the fork, and the parent goes on at once.

When the state cannot be written (a full disk), the last state that could be written stays. It is tried again until it
is written. A call that makes or removes a queue, a table or a topic is answered with 507 meanwhile.
"""

import asyncio
import copy
import json
import logging
import os
import re
import signal
import time
from collections.abc import Callable

from local_cloud.exchange import App, Message, Receive, Send, answer, header, tell

log = logging.getLogger("checkpoint")

PAUSE_SECONDS = 0.5
AGAIN_SECONDS = 2.0  # after a state that could not be written
# Writing a long queue takes processor time: at most this share of one core.
SHARE = 0.1
LONGEST_SECONDS = 60
_READS = re.compile(r"(Get|List|Describe|Query|Scan|BatchGet|Receive|TransactGet)")
_DEFINES = re.compile(r"(Create|Delete|Set|Tag|Untag)(Queue|Table|Topic)")


class Checkpoint:
    """Passes every call on to ministack and writes the state soon after a change.

    save: writes all state; runs in a child process. It raises an error when it could not write all of it. A call that
    makes or removes a queue, a table or a topic is answered only after the state is written.
    """

    def __init__(self, app: App, save: Callable[[], None]) -> None:
        self._app = app
        self._save = save
        self._changed = asyncio.Event()
        self._writing = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None
        self._failing = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, self._until_written(receive), send)
            return
        operation = _operation(scope) if scope["type"] == "http" else None
        if operation is None:
            await self._app(scope, receive, send)
        elif _DEFINES.match(operation):
            await self._app(scope, receive, self._written_first(send))
        else:
            await self._app(scope, receive, send)
            self._note_change()

    def _note_change(self) -> None:
        self._changed.set()
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write_after_changes())

    async def _write_after_changes(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(PAUSE_SECONDS)
            self._changed.clear()
            began = time.monotonic()
            try:
                await self._write()
                self._failing = False
            except OSError as error:  # the disk is full, or there is no memory for another process
                if not self._failing:
                    log.warning("queues, messages and tables are in memory alone until they can be written: %s", error)
                self._failing = True
                self._changed.set()
            pause = (time.monotonic() - began) / SHARE
            await asyncio.sleep(max(pause, AGAIN_SECONDS) if self._failing else pause)

    async def _write(self) -> None:
        """Write the state as it is now; return when it is written."""
        async with self._writing:
            # The child has no other thread and starts none: it writes files and exits.
            pid = os.fork()
            if pid == 0:
                _write_and_leave(self._save)
            child = os.pidfd_open(pid)
            try:
                await _readable(child)
            finally:
                os.close(child)
            _, status = os.waitpid(pid, 0)
            if status != 0:
                raise OSError(f"the writing process ended with {os.waitstatus_to_exitcode(status)}, see above")

    def _written_first(self, send: Send) -> Send:
        held: list[Message] = []

        async def send_when_written(message: Message) -> None:
            held.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                try:
                    await self._write()
                except OSError as error:
                    self._note_change()
                    await tell(send, answer(507, "application/json", _refusal(error)))
                    return
                for kept in held:
                    await send(kept)

        return send_when_written

    def _until_written(self, receive: Receive) -> Receive:
        """ministack writes its state itself when it stops: wait until no child of ours writes."""

        async def receive_when_written() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self._writing.acquire()  # never released
            return message

        return receive_when_written


def _write_and_leave(save: Callable[[], None]) -> None:
    status = 1
    try:
        signal.alarm(LONGEST_SECONDS)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.nice(10)
        # Two shortcuts save most of the time. Nothing changes in this child, so it needs no copies; and json.dumps has
        # an encoder in C that json.dump lacks.
        vars(copy)["deepcopy"] = lambda state, _memo=None: state
        vars(json)["dump"] = lambda state, file, **options: file.write(json.dumps(state, **options))
        save()
        status = 0
    finally:
        os._exit(status)


def _refusal(error: OSError) -> bytes:
    text = f"The embedded cloud cannot write its state: {error}"
    return json.dumps({"__type": "InsufficientStorage", "message": text}).encode()


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(descriptor, ready.set_result, None)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


def _operation(scope: Message) -> str | None:
    """The name of a call that changes state in memory; None for reads and for objects, which are on disk."""
    target = header(scope, b"x-amz-target").decode().rpartition(".")[2]
    if target:
        return None if _READS.match(target) else target
    method = scope["method"]
    if method in ("GET", "HEAD", "OPTIONS"):
        return None
    is_object = len(scope["path"].strip("/").split("/", 1)) == 2 and not scope["query_string"]
    if is_object and b"/s3/aws4_request" in header(scope, b"authorization"):
        return None
    return f"{method} {scope['path']}"
