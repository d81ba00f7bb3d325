"""What tests of bulk runs on the page and in the API share: photos in a bucket, and a worker that labels at once."""

from __future__ import annotations

from runs.handling import Handling, Labelled
from runs.manifest import Manifest
from runs.orders import read_order
from runs.rows import BulkRow
from runs.run import Run
from shoal.messages import Label, Result
from shoal.ports import Cloud
from tests.web_fixtures import jpeg

SOURCES = "s3://photos/2026/"
TARGETS = "s3://labels"


def store_photos(cloud: Cloud, count: int, bad: int = 0) -> None:
    """Photos below 2026/ in the bucket photos; the first `bad` of them are broken."""
    for number in range(count):
        body = b"no photo" if number < bad else jpeg((number * 7 % 256, 90, 140), (48, 36))
        cloud.buckets["photos"].put(f"2026/{number:04d}.jpg", body, "image/jpeg")


def label(run: Run, manifest: Manifest) -> Labelled:
    """The worker: small objects are no photos, unless they are tried once more."""
    rows = []
    for one in manifest.entries:
        result = Result(one.key, "done", (Label("tabby", "n02123045", 0.61, 281),), model=run.model or "resnet50")
        if one.size < 20:
            result = Result.failed(one.key, "it is no image", bad_photo=True)
        rows.append(BulkRow(one, result))
    return Labelled(rows, 2.0)


def work(cloud: Cloud, messages: int = 10_000) -> int:
    """Handle at most so many messages of the bulk queue. Returns how many there were."""
    handling = Handling(cloud, label)
    for handled in range(messages):
        received = cloud.bulk.receive(1, 0)
        if not received:
            return handled
        handling.handle(read_order(received[0].body))
        cloud.bulk.delete([received[0].receipt])
    return messages
