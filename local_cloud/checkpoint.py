"""ministack's state on disk while it runs, so that a kill -9 takes little more than the last second.

ministack writes objects as they come, and everything else (queues and their messages, tables, topics, functions) only
when it is told to stop. This ASGI layer has a forked child write it as well, after a change. The fork is a picture of
one instant, and the parent goes on at once.
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

from local_cloud.hostile.exchange import App, Message, Receive, Send, header

log = logging.getLogger("checkpoint")

PAUSE_SECONDS = 0.5
# Writing a long queue takes a core's time: it may have this share of it.
SHARE = 0.1
LONGEST_SECONDS = 60
_READS = re.compile(r"(Get|List|Describe|Query|Scan|BatchGet|Receive|TransactGet)")
_DEFINES = re.compile(r"(Create|Delete|Set|Tag|Untag)(Queue|Table|Topic)")


class Checkpoint:
    """Passes every call on to ministack and sees to it that what it changed is written soon.

    save: writes all state; called in a child process. A call that makes or removes a queue, a table or a topic is
    answered only after that.
    """

    def __init__(self, app: App, save: Callable[[], None]) -> None:
        self._app = app
        self._save = save
        self._changed = asyncio.Event()
        self._writing = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None

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
            except OSError as error:  # no room for another process
                log.warning("the state could not be written, the next change will try again: %s", error)
            await asyncio.sleep((time.monotonic() - began) / SHARE)

    async def _write(self) -> None:
        """Return when what is there now has been written."""
        async with self._writing:
            # The child runs no other thread of this process and starts none: it writes files and leaves.
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
                raise OSError(f"the writing process ended with {status}")

    def _written_first(self, send: Send) -> Send:
        held: list[Message] = []

        async def send_when_written(message: Message) -> None:
            held.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                await self._write()
                for one in held:
                    await send(one)

        return send_when_written

    def _until_written(self, receive: Receive) -> Receive:
        """ministack writes its state itself when it is told to stop: never at the same time as a child of ours."""

        async def receive_when_written() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self._writing.acquire()  # and never let go of
            return message

        return receive_when_written


def _write_and_leave(save: Callable[[], None]) -> None:
    status = 1
    try:
        signal.alarm(LONGEST_SECONDS)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.nice(10)
        # Most of the time would go into copies lest something change meanwhile, which it cannot here, and into
        # json.dump, which does without the encoder in C that json.dumps has.
        vars(copy)["deepcopy"] = lambda state, _memo=None: state
        vars(json)["dump"] = lambda state, file, **options: file.write(json.dumps(state, **options))
        save()
        status = 0
    finally:
        os._exit(status)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(descriptor, ready.set_result, None)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


def _operation(scope: Message) -> str | None:
    """The name of a call that changes what only memory holds; None for reads and for objects, which are on disk."""
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
