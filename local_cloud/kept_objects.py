"""Makes ministack refuse an object that it cannot write to disk.

ministack keeps objects in files, but answers 200 also when it could not write the file: the disk is full, for instance.
Such an object is in memory alone and is lost when the process ends. Here such a call is answered with 507
InsufficientStorage, and the key keeps what it had.
"""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from local_cloud import points
from local_cloud.exchange import App, HttpResponse, Message, Receive, Send, answer, tell

log = logging.getLogger("objects")

INSUFFICIENT_STORAGE = 507
_KEPT_HEADERS = (b"access-control-", b"vary", b"x-amz-request-id")

Record = dict[str, Any]


@dataclass
class ObjectWrites:
    """The objects that one call writes. before: the record that each key had. refused: why one was not kept."""

    before: dict[tuple[str, str], Record | None] = field(default_factory=dict)
    refused: str = ""


_writes: ContextVar[ObjectWrites] = ContextVar("writes")


class KeptObjects:
    """Passes every call on to ministack. Answers 507 to a call whose object is not on disk."""

    def __init__(self, app: App) -> None:
        self._app = app
        _hook()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("PUT", "POST"):
            await self._app(scope, receive, send)
            return
        writes = ObjectWrites()
        token = _writes.set(writes)
        try:
            await self._app(scope, receive, _refusing(writes, send))
        finally:
            _writes.reset(token)


def _refusing(writes: ObjectWrites, send: Send) -> Send:
    """`send`, or the refusal in place of the answer."""

    async def send_or_refuse(message: Message) -> None:
        if not writes.refused:
            await send(message)
        elif message["type"] == "http.response.start":
            kept = tuple(one for one in message.get("headers", ()) if one[0].lower().startswith(_KEPT_HEADERS))
            await tell(send, _refusal(writes.refused, kept))

    return send_or_refuse


def _refusal(why: str, headers: tuple[tuple[bytes, bytes], ...]) -> HttpResponse:
    text = f"The embedded cloud cannot write to its disk, so the object is not stored: {why}"
    body = f"<Error><Code>InsufficientStorage</Code><Message>{escape(text)}</Message></Error>"
    refused = answer(INSUFFICIENT_STORAGE, "application/xml", body.encode())
    return HttpResponse(refused.status, (*refused.headers, *headers), refused.body)


def _hook() -> None:
    import ministack.services.s3

    s3 = ministack.services.s3

    def noting(original: points.Function) -> points.Function:
        def record(bucket: str, key: str, prior: Record | None, obj: Record, data: Any) -> str | None:
            _call().before[bucket, key] = prior
            version: str | None = original(bucket, key, prior, obj, data)
            return version

        return record

    def keeping(original: points.Function) -> points.Function:
        def persist(bucket: str, key: str, obj: Record) -> None:
            if obj.get("body") is None:  # it is on disk already: only what describes it has changed
                original(bucket, key, obj)
                return
            try:
                _write(s3, bucket, key, obj)
            except OSError as error:
                log.warning("%s/%s is refused: %s", bucket, key, error)
                _call().refused = error.strerror or str(error)
                _take_back(s3, bucket, key)

        return persist

    points.replace(ministack.services.s3, "_record_object_version", noting)
    points.replace(ministack.services.s3, "_persist_object", keeping)


def _call() -> ObjectWrites:
    """The writes of the current call; of nobody when ministack writes by itself."""
    return _writes.get(ObjectWrites())


def _write(s3: Any, bucket: str, key: str, obj: Record) -> None:
    """Write content and description: both, or neither and an OSError. Then drop the body in memory."""
    path = Path(s3._object_disk_path(bucket, key))
    about = path.with_name(f"{path.name}.meta.json")
    described = {**s3._object_meta_from_record(obj), **s3._key_history_meta(bucket, key), "key": key}
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _draft(path, obj["body"]) as content, _draft(about, json.dumps(described).encode()) as description:
        content.replace(path)
        description.replace(about)
    obj["body"] = None
    folder = f"{s3.DATA_DIR}/{s3.get_account_id()}/{bucket}"
    s3._remove_key_files(s3._other_key_disk_path(folder, key, str(path)))


@contextmanager
def _draft(path: Path, content: bytes) -> Iterator[Path]:
    """A file of this content beside `path`, to be moved. It is gone after an error."""
    draft = path.with_name(f"{path.name}.tmp")
    try:
        with open(draft, "wb", opener=_open_private) as file:
            file.write(content)
        yield draft
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _take_back(s3: Any, bucket: str, key: str) -> None:
    """Give the key in memory what it had before. Not in the history of a bucket with versions."""
    objects, before = s3._buckets[bucket]["objects"], _call().before.get((bucket, key))
    if before is None:
        objects.pop(key, None)
    else:
        objects[key] = before
