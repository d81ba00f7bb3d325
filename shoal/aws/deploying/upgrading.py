"""Lets the workers start from another image: it is chosen, and those of other images drain, a few at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shoal.aws.clients import client, our_errors, region, use
from shoal.aws.connect import connect_pool
from shoal.aws.deploying.stack import Tell
from shoal.aws.deploying.worker_images import AVAILABLE, WorkerImage, WorkerImages
from shoal.aws.ec2 import ALIVE, DRAIN_TAG, POOL_TAG
from shoal.aws.template import IMAGE_SECONDS
from shoal.errors import Permanent, Retryable
from shoal.settings import Settings

LAUNCH_SECONDS = 5.0  # a launch that has begun with the other image
FOLLOW_SECONDS = 3600.0
PARTS = 4


@dataclass(frozen=True, slots=True)
class RunningWorker:
    """An instance of the pool. drains: whether it was asked to leave."""

    id: str
    image: str
    drains: bool


class Upgrade:
    """Changes the image of the workers of these settings. Every method may raise Permanent and Retryable.

    tell: is given a line for each step.  pause_seconds: between two looks.
    """

    def __init__(self, settings: Settings, tell: Tell, pause_seconds: float = 5.0) -> None:
        use(settings.cloud)
        region()
        self._settings = settings
        self._tell = tell
        self._pause = pause_seconds
        self._images = WorkerImages(settings)
        self._pool = connect_pool(settings, lambda: "", lambda: settings.max_instances)  # it launches nothing here

    def images(self) -> list[tuple[WorkerImage, int]]:
        """The whole images, the one that counts first, and how many workers run from each."""
        running = [one.image for one in self._workers()]
        return [(one, running.count(one.id)) for one in self._images.all() if one.state == AVAILABLE]

    def choose(self, image: str = "", back: bool = False) -> WorkerImage:
        """Let an image count: the newest, the named one, or with `back` the one that counted before."""
        if self._settings.image.startswith("ami-"):
            raise Permanent(f"SHOAL_AMI names the image {self._settings.image}: change or unset it, and deploy")
        known = [one for one, _ in self.images()]
        if not known:
            raise Permanent(f"there is no image {self._images.name}: `shoal bake` makes one")
        found = known[1:2] if back else [one for one in known if not image or image in (one.id, one.name)][:1]
        if not found:
            there = ", ".join(f"{one.name} ({one.id})" for one in known)
            wanted = "image before" if back else f"image {image}"
            raise Permanent(f"there is no {wanted}: there is {there}")
        [chosen] = found
        self._tell(f"{'IMAGE':<14} {chosen.name} ({chosen.id})")
        if chosen == known[0]:
            return chosen
        self._images.choose(chosen.id)
        return next(one for one in self._images.all() if one.id == chosen.id)

    def roll(self, image: WorkerImage, at_once: int = 0) -> int:
        """Ask the workers of other images to leave, and wait until none is left; returns how many there were.

        at_once: how many leave at the same time, a quarter of them when 0. Each finishes what it has taken; where the
        policy wants others in their place, the controller launches them.
        """
        at_once = at_once or max(1, math.ceil(len(self._old(image)) / PARTS))
        settled = time.monotonic() + max(0.0, IMAGE_SECONDS + LAUNCH_SECONDS - _age(image))
        deadline = time.monotonic() + FOLLOW_SECONDS
        seen: set[str] = set()
        left: set[str] = set()
        while time.monotonic() < deadline:
            old = self._old(image)
            gone = left - {one.id for one in old}
            left = {one.id for one in old}
            seen |= left
            for one in sorted(gone):
                self._tell(f"{'GONE':<14} {one}")
            if not old and time.monotonic() >= settled:
                return len(seen)
            self._drain(old, at_once)
            time.sleep(self._pause)
        raise Retryable(f"{', '.join(sorted(left))} are there after an hour: `shoal upgrade` again goes on")

    def _drain(self, old: Sequence[RunningWorker], at_once: int) -> None:
        room = at_once - sum(one.drains for one in old)
        asked = [one.id for one in old if not one.drains][: max(0, room)]
        if not asked:
            return
        try:
            self._pool.drain(asked)
        except Retryable as error:
            self._tell(f"{'LATER':<14} {error}")
            return
        self._tell(f"{'DRAIN':<14} {', '.join(asked)}")

    def _old(self, image: WorkerImage) -> list[RunningWorker]:
        return [one for one in self._workers() if one.image != image.id]

    def _workers(self) -> list[RunningWorker]:
        filters = [
            {"Name": f"tag:{POOL_TAG}", "Values": [self._settings.prefix]},
            {"Name": "instance-state-name", "Values": list(ALIVE)},
        ]
        with our_errors("workers"):
            pages = client("ec2").get_paginator("describe_instances").paginate(Filters=filters)
            found = [one for page in pages for reservation in page["Reservations"] for one in reservation["Instances"]]
        return [_worker(one) for one in found]


def _worker(raw: dict[str, Any]) -> RunningWorker:
    tags = {one["Key"] for one in raw.get("Tags") or ()}
    return RunningWorker(raw["InstanceId"], raw["ImageId"], DRAIN_TAG in tags)


def _age(image: WorkerImage) -> float:
    """For how many seconds the image has counted."""
    try:
        since = datetime.fromisoformat(image.since.replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    return (datetime.now(UTC) - since).total_seconds()
