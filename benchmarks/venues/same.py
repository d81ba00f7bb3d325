"""`python -m benchmarks.venues.same`: whether local, pool and Lambda give the same answer for each of 200 photos.

Asks the running Shoal of SHOAL_STATE_DIR, started with SHOAL_VENUES=local, after `shoal prepare --venue lambda`. Each
photo goes to all three; compared are names and probabilities of the best labels, to five digits. The exit status is 1
when they differ for a photo. What Lambda was given is deleted at the end.

With `--split`, after `SHOAL_VENUES=local,split SHOAL_TAILS=... shoal up` and `shoal prepare --venue split`, the first
tail is asked, too: in a worker and in Lambda, which must give the same, and whose best label must be that of the
model in the pool for 98 % of the photos.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests
from PIL import Image, ImageOps

from benchmarks.running.waiting import wait_for
from inference.preparing.cutting.request import AGREEING
from inference.preparing.photos import fetch
from shoal import aws, settings
from shoal.errors import NotFound
from shoal.photo_record import TOP
from shoal.settings import Settings
from shoal_cli._splitting._by_function import tail_calls
from shoal_cli._splitting._device import Device

DIGITS = 5
COUNT = 200
AT_ONCE = 4
SECONDS = 120.0
FOLDER = "same/"  # under the prefix of the function

Answer = list[tuple[str, float]]
Door = Callable[[str, bytes], Answer]


def main() -> int:
    """Ask all and tell what differs."""
    chosen = settings.load_with_env_file()
    photos = _photos(chosen.cache_dir)
    doors: dict[str, Door] = {
        "local": lambda name, photo: _by_http(chosen, "local", name, photo),
        "pool": lambda name, photo: _by_http(chosen, "pool", name, photo),
        "lambda": _Function(chosen),
    }
    found = _asked(doors, photos)
    wrong = _differing(list(photos), found)
    print(f"{len(photos) - len(wrong)} of {len(photos)} photos have the same labels with {', '.join(doors)}")
    print("\n".join(wrong))
    agree = "--split" not in sys.argv or _split_agrees(chosen, photos, found["pool"])
    return 0 if agree and not wrong else 1


def _asked(doors: Mapping[str, Door], photos: Mapping[str, bytes]) -> dict[str, list[Answer]]:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return {name: list(threads.map(ask, photos.keys(), photos.values())) for name, ask in doors.items()}


def _split_agrees(chosen: Settings, photos: Mapping[str, bytes], whole: Sequence[Answer]) -> bool:
    """Whether the first tail gives the same in a worker and in Lambda, and the labels of the whole model."""
    calls, (tail, *_), _ = tail_calls(chosen)
    device = Device.of(chosen, tail, "", "")
    sent = {name: device.pack(photo) for name, photo in photos.items()}
    doors: dict[str, Door] = {
        "worker": lambda name, body: _by_http(chosen, "split", name, body, tail),
        "lambda": lambda _, body: _answer(calls.label(body).to_dict()),
    }
    found = _asked(doors, sent)
    wrong = _differing(list(photos), found)
    print(f"{tail}: {len(photos) - len(wrong)} of {len(photos)} photos have the same labels in a worker and in Lambda")
    print("\n".join(wrong))
    agreeing = sum(one[0][0] == other[0][0] for one, other in zip(found["lambda"], whole, strict=True))
    print(f"{tail}: {agreeing} of {len(photos)} best labels are those of the whole model in the pool")
    return not wrong and agreeing >= AGREEING * len(photos)


def _photos(cache_dir: Path) -> dict[str, bytes]:
    """Name -> photo: all that there are, and mirror images of as many as are missing."""
    found = {f"{number:03d}.jpg": path.read_bytes() for number, path in enumerate(fetch(cache_dir))}
    for name in list(found)[: COUNT - len(found)]:
        mirrored = io.BytesIO()
        with Image.open(io.BytesIO(found[name])) as image:
            ImageOps.mirror(image.convert("RGB")).save(mirrored, "JPEG", quality=90)
        found[f"mirrored {name}"] = mirrored.getvalue()
    return found


def _differing(names: Sequence[str], found: Mapping[str, Sequence[Answer]]) -> list[str]:
    """A line for each photo whose answers differ."""
    lines = []
    for number, photo in enumerate(names):
        answers = {name: given[number] for name, given in found.items()}
        if len({str(one) for one in answers.values()}) > 1:
            lines.append(f"{photo}: " + "; ".join(f"{name} {one[:2]}" for name, one in answers.items()))
    return lines


def _by_http(chosen: Settings, venue: str, name: str, photo: bytes, model: str = "") -> Answer:
    url = f"http://{chosen.host}:{chosen.port}/v1/label"
    query = {"venue": venue, "name": name} | ({"model": model} if model else {})
    reply = requests.post(url, params=query, data=photo, timeout=SECONDS)
    reply.raise_for_status()
    return _answer(reply.json())


class _Function:
    """Stores a photo for the Lambda function, and awaits its result document."""

    def __init__(self, chosen: Settings) -> None:
        self._cloud = aws.connect_to_running(chosen)
        self._tables = aws.label_tables(chosen)
        self._bucket = chosen.in_bucket
        self._prefix = f"{chosen.lambda_prefix}{FOLDER}"

    def __call__(self, name: str, photo: bytes) -> Answer:
        key = f"{self._prefix}{name}"
        self._cloud.outputs.delete(key)
        self._cloud.inputs.put(key, photo, "image/jpeg")
        wait_for(lambda: self._result(key), SECONDS, f"no result for {key}")
        found = self._result(key)
        wait_for(lambda: self._tables.forget(f"s3://{self._bucket}/{key}"), SECONDS, f"no items for {key}")
        for bucket in (self._cloud.inputs, self._cloud.outputs):
            bucket.delete(key)
        return _answer(json.loads(found))

    def _result(self, key: str) -> bytes:
        try:
            return self._cloud.outputs.get(key)
        except NotFound:
            return b""


def _answer(result: Mapping[str, Any]) -> Answer:
    return [(one["name"], round(one["probability"], DIGITS)) for one in result["labels"][:TOP]]


if __name__ == "__main__":
    sys.exit(main())
