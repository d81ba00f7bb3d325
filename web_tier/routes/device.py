"""The page on which a small network, or the head of one, runs in the browser, and the files that it needs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from flask import Blueprint, Response, make_response, render_template, send_file, url_for

from inference import store
from inference.decoding import photo_formats
from shoal.folders import folder
from web_tier import words
from web_tier.access.rights import Right, needs
from web_tier.problems import Problem
from web_tier.services import services

blueprint = Blueprint("device", __name__)

SPLIT = "split"
LASTING = "public, max-age=31536000, immutable"

# Only the worker of this page may compile WebAssembly, and it may do nothing else: not even load a picture.
WORKER_POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'"

_WORKER = folder("static") / "js" / "device" / "worker.js"
_SUFFIX = ".gz"
_TYPES = {
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
    ".json": "application/json",
}
_PARTS = (
    ("program", store.BROWSER_PROGRAM, "ort.mjs"),
    ("wasm", store.BROWSER_PROGRAM, "ort.wasm"),
    ("net", store.BROWSER_MODEL, "model.onnx"),
    ("classes", store.BROWSER_MODEL, "classes.json"),
)


class BrowserFile(NamedTuple):
    """What the page fetches. sizes in bytes: as it travels, and unpacked."""

    name: str
    address: str
    packed: int
    unpacked: int


class BrowserSplit(NamedTuple):
    """A tail that is served here, and its head for browsers. title: of the model that is cut.

    cut: what the page has to know: the tail, the side of the head's input, and the fields of CutPoint.
    """

    title: str
    cut: dict[str, object]
    head: BrowserFile


@blueprint.get("/device")
@needs(Right.LABEL)
def device_page() -> Response:
    """Label photos in the browser. Nothing leaves it, but for what a person chooses to send."""
    files = _files()
    split = _split() if files else None
    card = store.ready(store.browser_folder(store.BROWSER_MODEL, services().settings.cache_dir))
    learned = card.agreement.get("unsure") if card and services().has_pool else None
    if learned and learned["model"] != services().settings.model:
        learned = None  # it was learned beside another model than the pool's
    page = render_template(
        "device.html",
        files=[*files, split.head] if split else files,
        fetched=words.size(fetched_bytes()),
        accept=photo_formats.ACCEPT,
        unsure=learned,
        split=split,
        split_fetched=words.size(split.head.packed + sum(one.packed for one in files[:2])) if split else "",
    )
    return make_response(page)


@blueprint.get("/device/worker.js")
@needs(Right.NOTHING)
def worker() -> Response:
    """The script that runs the network, with a policy of its own."""
    response = send_file(_WORKER, "text/javascript", max_age=0)
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Content-Security-Policy"] = WORKER_POLICY
    return response


@blueprint.get("/device/files/<name>/<version>/<file>")
@needs(Right.NOTHING)
def browser_file(name: str, version: str, file: str) -> Response:
    """A file of the program or of the network; its address changes with its content."""
    place = _place(name)
    card = store.ready(place) if place else None
    if place is None or card is None or version != card.version or f"{file}{_SUFFIX}" not in card.files:
        raise Problem(404, "This Shoal has no such file for browsers, or has a newer one: reload the page.")
    response = send_file(place / f"{file}{_SUFFIX}", _TYPES.get(Path(file).suffix), conditional=False, etag=False)
    response.headers["Content-Encoding"] = "gzip"  # each browser with WebAssembly takes it
    response.headers["Cache-Control"] = LASTING
    return response


def fetched_bytes() -> int:
    """How much a browser fetches at the first use of the page; 0 where the page has no network."""
    return sum(one.packed for one in _files())


def _files() -> list[BrowserFile]:
    """What the page fetches; nothing where it is not prepared, or not whole."""
    cache_dir = services().settings.cache_dir
    found = [_file(key, name, store.browser_folder(name, cache_dir), file) for key, name, file in _PARTS]
    whole = [one for one in found if one is not None]
    return whole if len(whole) == len(found) else []


def _split() -> BrowserSplit | None:
    """The first of the tails that are served, in the order of SHOAL_TAILS, whose head is prepared for browsers."""
    if SPLIT not in services().venues.names:
        return None
    for tail in services().settings.served_tails:
        if found := store.browser_head(tail, services().settings.cache_dir):
            head, cut = found
            if file := _file("head", tail, head.folder, "head.onnx"):
                return BrowserSplit(head.model.title, asdict(cut) | {"tail": tail, "side": head.model.side}, file)
    return None


def _place(name: str) -> Path | None:
    """The folder of what browsers may fetch: the program, the network, or the head of a tail that is served."""
    settings = services().settings
    if name in (store.BROWSER_PROGRAM, store.BROWSER_MODEL):
        return store.browser_folder(name, settings.cache_dir)
    found = store.browser_head(name, settings.cache_dir) if name in settings.served_tails else None
    return found[0].folder if found else None


def _file(key: str, name: str, place: Path, file: str) -> BrowserFile | None:
    card = store.ready(place)
    packed = card.files.get(f"{file}{_SUFFIX}") if card else None
    if card is None or packed is None:
        return None
    address = url_for("device.browser_file", name=name, version=card.version, file=file)
    return BrowserFile(key, address, packed.size, _unpacked(place / f"{file}{_SUFFIX}"))


def _unpacked(file: Path) -> int:
    """The size of a gzip file's content: its last four bytes say it."""
    with file.open("rb") as packed:
        packed.seek(-4, 2)
        return int.from_bytes(packed.read(4), "little")
