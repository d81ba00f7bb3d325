"""Makes SQS duplicate, delay, reorder and miscount: an ASGI layer in front of ministack, for SQS' JSON protocol."""

import json
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from local_cloud.exchange import (
    App,
    HttpResponse,
    Message,
    Receive,
    Send,
    answer,
    ask,
    header,
    read_body,
    tell,
)
from local_cloud.hostile import is_spared
from local_cloud.hostile.dice import Dice
from local_cloud.hostile.journal import FaultJournal

COUNTS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed")
STALE_SECONDS = 60.0
LONGEST_DELAY_SECONDS = 3
COPY_SECONDS = 60.0
NOTHING_SHARE = 0.3
JSON = "application/x-amz-json-1.0"

Request = dict[str, Any]
Forward = Callable[[Request], Awaitable[HttpResponse]]


@dataclass(frozen=True)
class _Copy:
    due: float
    message: Mapping[str, Any]


class HostileQueues:
    """An ASGI layer. One event loop, so no locks."""

    def __init__(self, app: App, dice: Dice, journal: FaultJournal, now: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._dice = dice
        self._journal = journal
        self._now = now
        self._copies: dict[str, deque[_Copy]] = {}
        self._counts: dict[str, deque[tuple[float, dict[str, str]]]] = {}
        self._acts: dict[bytes, Callable[[Request, Forward], Awaitable[HttpResponse]]] = {
            b"AmazonSQS.SendMessage": self._send_one,
            b"AmazonSQS.SendMessageBatch": self._send_batch,
            b"AmazonSQS.ReceiveMessage": self._receive,
            b"AmazonSQS.DeleteMessage": self._delete_one,
            b"AmazonSQS.DeleteMessageBatch": self._delete_batch,
            b"AmazonSQS.GetQueueAttributes": self._count,
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        lies = scope["type"] == "http" and not is_spared(header(scope, b"authorization").decode(errors="replace"))
        act = self._acts.get(header(scope, b"x-amz-target")) if lies else None
        if act is None:
            await self._app(scope, receive, send)
            return
        body = await read_body(receive)

        async def forward(request: Request) -> HttpResponse:
            return await ask(self._app, scope, json.dumps(request).encode(), receive)

        try:
            request = json.loads(body)
        except ValueError:
            await tell(send, await ask(self._app, scope, body, receive))
            return
        await tell(send, await act(request, forward))

    def _hit(self, kind: str, what: str) -> bool:
        if self._dice.roll(kind) is None:
            return False
        self._journal.note(kind, what)
        return True

    # send

    async def _send_one(self, request: Request, forward: Forward) -> HttpResponse:
        self._delay(request, _queue(request))
        return await forward(request)

    async def _send_batch(self, request: Request, forward: Forward) -> HttpResponse:
        for entry in request.get("Entries", ()):
            self._delay(entry, _queue(request))
        return await forward(request)

    def _delay(self, message: Request, queue: str) -> None:
        magnitude = self._dice.roll("late-delivery")
        if magnitude is not None and not queue.endswith(".fifo"):
            message["DelaySeconds"] = message.get("DelaySeconds", 0) + 1 + int(magnitude * LONGEST_DELAY_SECONDS)
            self._journal.note("late-delivery", queue)

    # receive

    async def _receive(self, request: Request, forward: Forward) -> HttpResponse:
        queue = _queue(request)
        most = int(request.get("MaxNumberOfMessages", 1))
        short = self._dice.roll("short-receive")
        if short is not None and short < NOTHING_SHARE:
            self._journal.note("short-receive", f"{queue}: nothing")
            return _json({})
        wanted = most if short is None else max(1, int(short * most))
        found = await forward(request | {"MaxNumberOfMessages": wanted})
        if found.status != 200:
            return found
        messages = json.loads(found.body).get("Messages", [])
        if len(messages) == wanted < most:
            self._journal.note("short-receive", f"{queue}: {wanted} of {most}")
        self._remember(queue, messages)
        messages += self._due_copies(queue, most - len(messages))
        self._shuffle(queue, messages)
        return found.with_body(json.dumps({"Messages": messages} if messages else {}).encode())

    def _remember(self, queue: str, messages: list[Any]) -> None:
        for message in messages:
            magnitude = self._dice.roll("duplicate-delivery")
            if magnitude is not None:
                due = self._now() + self._dice.seconds(magnitude, 0.0, COPY_SECONDS)
                self._copies.setdefault(queue, deque()).append(_Copy(due, message))

    def _due_copies(self, queue: str, room: int) -> list[Mapping[str, Any]]:
        copies = self._copies.get(queue, deque())
        due = [one for one in copies if one.due <= self._now()][:room]
        for one in due:
            copies.remove(one)
            self._journal.note("duplicate-delivery", queue)
        return [one.message for one in due]

    def _shuffle(self, queue: str, messages: list[Any]) -> None:
        magnitude = self._dice.roll("shuffled-delivery")
        if magnitude is not None and len(messages) > 1:
            random.Random(magnitude).shuffle(messages)
            self._journal.note("shuffled-delivery", queue)

    # delete

    async def _delete_one(self, request: Request, forward: Forward) -> HttpResponse:
        queue = _queue(request)
        if self._hit("failed-delete", queue):
            return _internal_error()
        if self._hit("undone-delete", queue):
            return _json({})
        found = await forward(request)
        return _internal_error() if self._hit("late-failed-delete", queue) else found

    async def _delete_batch(self, request: Request, forward: Forward) -> HttpResponse:
        queue = _queue(request)
        entries = request.get("Entries", [])
        refused = [one for one in entries if self._hit("failed-delete", queue)]
        undone = [one for one in entries if one not in refused and self._hit("undone-delete", queue)]
        done = [one for one in entries if one not in refused and one not in undone]
        result: dict[str, list[Any]] = {"Successful": [{"Id": one["Id"]} for one in undone], "Failed": []}
        if done or not entries:
            found = await forward(request | {"Entries": done})
            if found.status != 200:
                return found
            answered = json.loads(found.body)
            late = [one for one in answered.get("Successful", ()) if self._hit("late-failed-delete", queue)]
            result["Successful"] += [one for one in answered.get("Successful", ()) if one not in late]
            result["Failed"] += answered.get("Failed", [])
            refused += late
        result["Failed"] += [_refusal(one["Id"]) for one in refused]
        return _json(result)

    # counts

    async def _count(self, request: Request, forward: Forward) -> HttpResponse:
        found = await forward(request)
        if found.status != 200:
            return found
        read = json.loads(found.body)
        attributes = read.get("Attributes", {})
        truth = {name: attributes[name] for name in COUNTS if name in attributes}
        if not truth:
            return found
        told = self._told(_queue(request), truth)
        attributes.update({name: told.get(name, value) for name, value in truth.items()})
        return found.with_body(json.dumps(read).encode())

    def _told(self, queue: str, truth: dict[str, str]) -> dict[str, str]:
        """The counts to answer with. Both kinds draw at every call; zeros have precedence."""
        history = self._counts.setdefault(queue, deque())
        now = self._now()
        history.append((now, truth))
        while now - history[0][0] > STALE_SECONDS * self._dice.hostility.scale:
            history.popleft()
        zero, stale = self._dice.roll("zero-count"), self._dice.roll("stale-count")
        old = history[int((stale or 0.0) * len(history))][1]
        for kind, hit, told in (("zero-count", zero, dict.fromkeys(truth, "0")), ("stale-count", stale, old)):
            if hit is not None and told != truth:
                self._journal.note(kind, f"{queue}: {told} for {truth}")
                return told
        return truth


def _queue(request: Request) -> str:
    return str(request.get("QueueUrl", "")).rpartition("/")[2]


def _json(body: Mapping[str, Any]) -> HttpResponse:
    return answer(200, JSON, json.dumps(body).encode())


def _internal_error() -> HttpResponse:
    body = {"__type": "com.amazonaws.sqs#InternalError", "message": "hostile: an internal error"}
    return answer(500, JSON, json.dumps(body).encode())


def _refusal(identifier: str) -> dict[str, Any]:
    return {"Id": identifier, "Code": "InternalError", "Message": "hostile: an internal error", "SenderFault": False}
