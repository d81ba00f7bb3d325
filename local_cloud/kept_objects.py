"""Makes ministack refuse an object that it cannot write to disk.

ministack keeps objects in files, but answers 200 also when it could not write the file: the disk is full, for instance.
Such an object is in memory alone and is lost when the process ends. Here such a call is answered with 507
InsufficientStorage, and the key keeps what it had.
"""

# Plain strings tell where objects are: a Path costs a multiple, and that runs several times for each photo.
# ruff: noqa: PTH112, PTH113, PTH118, PTH119, PTH123, PTH208

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from local_cloud import points
from local_cloud.exchange import App, HttpResponse, Message, Receive, Send, answer, tell

log = logging.getLogger("objects")

INSUFFICIENT_STORAGE = 507
SIDECAR = ".meta.json"  # what ministack puts behind an object's path, for the file that describes it
_DRAFT = ".tmp"
_HASHED = "sha256-"  # the names of long keys
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
    points.replace(ministack.services.s3, "_key_disk_path", lambda _: _in_one_folder(s3))
    points.replace(ministack.services.s3, "_persisted_key_files", lambda original: _by_names(s3, original))


def _call() -> ObjectWrites:
    """The writes of the current call; of nobody when ministack writes by itself."""
    return _writes.get(ObjectWrites())


def _write(s3: Any, bucket: str, key: str, obj: Record) -> None:
    """Write content and description: both, or neither and an OSError. Then drop the body in memory."""
    path = Path(s3._object_disk_path(bucket, key))
    about = path.with_name(f"{path.name}{SIDECAR}")
    described = {**s3._object_meta_from_record(obj), **s3._key_history_meta(bucket, key), "key": key}
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _draft(path, obj["body"]) as content, _draft(about, json.dumps(described).encode()) as description:
        content.replace(path)
        description.replace(about)
    obj["body"] = None


@contextmanager
def _draft(path: Path, content: bytes) -> Iterator[Path]:
    """A file of this content beside `path`, to be moved. It is gone after an error."""
    draft = path.with_name(f"{path.name}{_DRAFT}")
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


_resolved = lru_cache(os.path.realpath)


def _in_one_folder(s3: Any) -> points.Function:
    """All objects of a bucket in one folder, under names made from their keys. ministack reads both places.

    It gives each folder in a key a folder on disk, and looks at the disk some forty times for a path. Each photo then
    needs two folders more, and making a file is what storing a small object costs.
    """

    def key_disk_path(base: str, key: str) -> str:
        root = _resolved(base)
        if s3._plain_path_key(key):
            plain = os.path.join(root, key)
            if os.path.isfile(plain) or os.path.isfile(plain + SIDECAR):  # of an earlier version of this cloud
                return plain
        return os.path.join(root, str(s3._ENCODED_KEYS_DIR), str(s3._encoded_key_name(key)))

    return key_disk_path


def _by_names(s3: Any, original: points.Function) -> points.Function:
    """The files of a bucket with their keys. The original opens each file of the one folder for its key."""

    def persisted_key_files(bucket_path: str, sidecars: bool) -> Iterator[tuple[str, str]]:
        folder = os.path.join(bucket_path, s3._ENCODED_KEYS_DIR)
        for path, key in original(bucket_path, sidecars):
            if path.startswith(f"{folder}/"):
                break
            yield path, key
        yield from _key_files(folder, sidecars)

    return persisted_key_files


def _key_files(folder: str, sidecars: bool) -> Iterator[tuple[str, str]]:
    """(file, key) of each content, or of each sidecar, in the folder of all keys."""
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        if name.endswith(SIDECAR) != sidecars or name.endswith(_DRAFT):
            continue
        path, encoded = os.path.join(folder, name), name.removesuffix(SIDECAR)
        yield path, _described_key(path.removesuffix(SIDECAR)) if encoded.startswith(_HASHED) else unquote(encoded)


def _described_key(path: str) -> str:
    """The key that the sidecar of this content tells; its name when it cannot be read."""
    with suppress(OSError, ValueError, KeyError), open(path + SIDECAR, encoding="utf-8") as file:
        return str(json.load(file)["key"])
    return os.path.basename(path)
