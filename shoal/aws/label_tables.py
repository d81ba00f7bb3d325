"""The labels of photos in two Amazon DynamoDB tables, by photo and by label, written in one transaction.

Images table: partition key IMAGE, a column a label with its confidence, ORDER and, for a failed photo, ERROR.
Labels table: partition key LABEL, sort key RANK (`confidence#key`), IMAGE.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from shoal.aws import signed
from shoal.aws.clients import Service, error_code, our_errors
from shoal.aws.dynamodb import PROTOCOL
from shoal.errors import NotFound, Permanent, Retryable
from shoal.messages import Result

IMAGE = "image-url"
ORDER = "shoal-event"
ERROR = "shoal-error"
LABEL = "label"
RANK = "confidence#key"
_COLUMNS = frozenset({IMAGE, ORDER, ERROR})

# A transaction has at most 100 items: the image, its new labels, and old labels to delete.
MOST_LABELS = 49
MOST_LABEL_BYTES = 2048  # of a partition key; with MOST_LABELS an item stays below DynamoDB's 400 KB
MOST_RANK_BYTES = 1024  # of a sort key
ATTEMPTS = 5
AWAY = "`shoal prepare --venue lambda` makes it"


@dataclass(frozen=True, slots=True)
class FoundImage:
    """A photo with a label."""

    url: str
    confidence: float


def confidences(result: Result) -> dict[str, float]:
    """The MOST_LABELS surest labels of a result; of two with the same name the surer."""
    named = [(one.name, one.probability) for one in result.labels]
    named += [(one.name, one.score) for one in result.detections]
    surest: dict[str, float] = {}
    for name, confidence in sorted(named, key=lambda pair: -pair[1]):
        if name and name not in _COLUMNS and len(name.encode()) <= MOST_LABEL_BYTES:
            surest.setdefault(name, round(confidence, 6))
    return dict(list(surest.items())[:MOST_LABELS])


class LabelTables:
    """Both tables. images, labels: their names."""

    def __init__(self, dynamodb: Service, images: str, labels: str) -> None:
        self._dynamodb = dynamodb
        self._images = images
        self._labels = labels

    def record(self, url: str, order: str, result: Result) -> Literal["first", "replaced", "late"]:
        """Replace what the tables say of a photo, unless they hold a later event of it ("late").

        order: the sequencer of the event; sequencers of one key sort by time. Raises Retryable.
        """
        if self._replace(None, url, order, result):  # most photos come once: one call
            return "first"
        for _ in range(ATTEMPTS):
            known = self._known(url)
            if known is not None and _padded(known[ORDER]["S"]) > _padded(order):
                return "late"
            if self._replace(known, url, order, result):
                return "replaced"
        raise Retryable(f"labels of {url}: another event of the same photo is written at the same time")

    def latest(self, url: str) -> str:
        """The sequencer of the latest event of a photo that was recorded; empty without any. Raises Retryable."""
        known = self._known(url)
        return "" if known is None else str(known[ORDER]["S"])

    def forget(self, url: str) -> bool:
        """Delete what the tables say of a photo; False if they know nothing of it. Raises Retryable."""
        known = self._known(url)
        if known is None:
            return False
        rows = _keys(url, {name: float(value["N"]) for name, value in known.items() if name not in _COLUMNS})
        deletes = [(self._images, {IMAGE: {"S": url}})]
        deletes += [(self._labels, {LABEL: {"S": label}, RANK: {"S": rank}}) for label, rank in rows]
        writes = [{"Delete": {"TableName": table, "Key": key}} for table, key in deletes]
        self._call("TransactWriteItems", TransactItems=writes)
        return True

    def find(self, label: str, limit: int) -> Iterator[FoundImage]:
        """The photos with a label, the surest first; at most `limit`. Raises Permanent when the table is missing."""
        query = {
            "KeyConditionExpression": "#label = :label",
            "ExpressionAttributeNames": {"#label": LABEL},
            "ExpressionAttributeValues": {":label": {"S": label}},
            "ScanIndexForward": False,
        }
        try:
            with our_errors(f"find {label} in table {self._labels}"):
                pages = self._dynamodb.client.get_paginator("query").paginate(
                    TableName=self._labels, PaginationConfig={"MaxItems": limit}, **query
                )
                for page in pages:
                    for item in page["Items"]:
                        yield FoundImage(item[IMAGE]["S"], float(item[RANK]["S"].partition("#")[0]))
        except NotFound as error:
            raise Permanent(f"{error}: {AWAY}") from error

    def _known(self, url: str) -> dict[str, Any] | None:
        members = {"TableName": self._images, "Key": {IMAGE: {"S": url}}, "ConsistentRead": True}
        item: dict[str, Any] | None = self._call("GetItem", **members).get("Item")
        return item

    def _replace(self, known: Mapping[str, Any] | None, url: str, order: str, result: Result) -> bool:
        """Write both tables; returns False when the photo's item is no longer the `known` one."""
        fresh = confidences(result)
        old = {name: float(value["N"]) for name, value in (known or {}).items() if name not in _COLUMNS}
        rows, gone = _keys(url, fresh), _keys(url, old)
        image = {IMAGE: {"S": url}, ORDER: {"S": order}}
        image |= {name: {"N": f"{confidence:.6f}"} for name, confidence in fresh.items()}
        if result.status == "failed":
            image[ERROR] = {"S": result.error}
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(#order)"}
        if known is not None:
            condition = {
                "ConditionExpression": "#order = :order",
                "ExpressionAttributeValues": {":order": known[ORDER]},
            }
        put = {"TableName": self._images, "Item": image, **condition, "ExpressionAttributeNames": {"#order": ORDER}}
        writes: list[dict[str, Any]] = [{"Put": put}]
        for label, rank in rows:
            row = {LABEL: {"S": label}, RANK: {"S": rank}, IMAGE: {"S": url}}
            writes.append({"Put": {"TableName": self._labels, "Item": row}})
        for label, rank in gone - rows:
            key = {LABEL: {"S": label}, RANK: {"S": rank}}
            writes.append({"Delete": {"TableName": self._labels, "Key": key}})
        try:
            self._call("TransactWriteItems", TransactItems=writes)
        except Permanent as error:
            if error_code(error) != "TransactionCanceledException":
                raise
            return False
        return True

    def _call(self, action: str, **members: Any) -> dict[str, Any]:
        try:
            with our_errors(f"{action} in tables {self._images} and {self._labels}"):
                return signed.call_json(self._dynamodb, PROTOCOL, action, **members)
        except NotFound as error:
            raise Retryable(f"{error}: {AWAY}") from error


def _padded(sequencer: str) -> str:
    """As S3 compares sequencers of different lengths."""
    return sequencer.ljust(64, "0")


def _keys(url: str, confidences_of: Mapping[str, float]) -> set[tuple[str, str]]:
    """The keys of a photo's rows in the labels table."""
    key = url.removeprefix("s3://").partition("/")[2]
    return {(label, _rank(confidence, key)) for label, confidence in confidences_of.items()}


def _rank(confidence: float, key: str) -> str:
    rank = f"{confidence:.6f}#{key}"
    if len(rank.encode()) <= MOST_RANK_BYTES:
        return rank
    return f"{confidence:.6f}#{hashlib.sha256(key.encode()).hexdigest()}"


def create_tables(dynamodb: Any, images: str, labels: str) -> None:
    """Make the missing ones, and wait until they can be used."""
    _create(dynamodb, images, [(IMAGE, "HASH")])
    _create(dynamodb, labels, [(LABEL, "HASH"), (RANK, "RANGE")])


def _create(dynamodb: Any, name: str, keys: list[tuple[str, str]]) -> None:
    try:
        with our_errors(f"create table {name}"):
            dynamodb.create_table(
                TableName=name,
                KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys],
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key, _ in keys],
                BillingMode="PAY_PER_REQUEST",
            )
            dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    except Permanent as error:
        if error_code(error) != "ResourceInUseException":
            raise


def remove_tables(dynamodb: Any, *names: str) -> None:
    """Delete the tables that exist."""
    for name in names:
        try:
            with our_errors(f"delete table {name}"):
                dynamodb.delete_table(TableName=name)
        except NotFound:
            continue
