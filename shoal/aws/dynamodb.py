"""The register of workers and the controllers' lease, in one Amazon DynamoDB table.

The key `id` is a worker's instance id, or LEASE_KEY. It is a partition key, so beats spread over partitions.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from shoal import safe_json
from shoal.aws import signed
from shoal.aws.clients import Service, error_code, our_errors
from shoal.errors import MalformedMessage, NotFound, Permanent, Retryable
from shoal.lease import LeaseRecord
from shoal.logs import WarnOnce
from shoal.ports import Beat

log = logging.getLogger(__name__)

PROTOCOL = "DynamoDB_20120810"
KEY = "id"
LEASE_KEY = "lease"
EXPIRES = "expires"  # DynamoDB's own time to live: seconds since 1970
MOST = 1e15  # no figure of a beat reaches it
FORGOTTEN_SECONDS = 24 * 3600  # after a day without a beat DynamoDB deletes the entry, even without a controller


class DynamoRegister:
    """A Register."""

    def __init__(self, dynamodb: Service, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._faults = WarnOnce(log)

    def beat(self, worker: str, beat: Beat) -> None:
        item = {
            KEY: {"S": worker},
            EXPIRES: _number(int(time.time()) + FORGOTTEN_SECONDS),
            "count": _number(beat.count),
            "finished": _number(beat.finished),
            "in_progress": _number(beat.in_progress),
            "busy_seconds": _number(round(beat.busy_seconds, 3)),
            "ready_seconds": _number(round(beat.ready_seconds, 3)),
            "model": {"S": beat.model},
            "leaving": {"BOOL": beat.leaving},
            "received": _number(beat.received),
            "waits_for_store": {"BOOL": beat.waits_for_store},
            "arithmetic": {"S": beat.arithmetic},
            "peak_bytes": _number(beat.peak_bytes),
            "dropped": _number(beat.dropped),
            "bulk": _number(beat.bulk),
            "bulk_finished": _number(beat.bulk_finished),
            "restarted": {"BOOL": beat.restarted},
        }
        with _lost_is_retryable(), our_errors(f"enter {worker} in register {self._table}"):
            signed.call_json(self._dynamodb, PROTOCOL, "PutItem", TableName=self._table, Item=item)

    def workers(self) -> dict[str, Beat]:
        with _lost_is_retryable(), our_errors(f"read register {self._table}"):
            pages = self._dynamodb.client.get_paginator("scan").paginate(TableName=self._table, ConsistentRead=True)
            items = [item for page in pages for item in page["Items"]]
        found, wrong = {}, []
        for item in items:
            if item[KEY]["S"] == LEASE_KEY:
                continue
            try:
                found[item[KEY]["S"]] = _beat(item)
            except MalformedMessage as error:
                wrong.append(f"{item[KEY]['S']!r}: {error}")
        if wrong:
            self._faults.warn("passed over %d entries of the register, the first is %s", len(wrong), wrong[0])
        else:
            self._faults.clear()
        return found

    def forget(self, workers: Sequence[str]) -> None:
        for one in workers:
            with _lost_is_retryable(), our_errors(f"strike {one} off the register"):
                signed.call_json(self._dynamodb, PROTOCOL, "DeleteItem", TableName=self._table, Key={KEY: {"S": one}})


class DynamoLeasePlace:
    """A LeasePlace: the item LEASE_KEY, changed by conditional writes. Makes a lost table again."""

    def __init__(self, dynamodb: Service, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def read(self) -> LeaseRecord | None:
        try:
            with our_errors(f"read lease in {self._table}"):
                answer = self._dynamodb.client.get_item(
                    TableName=self._table, Key={KEY: {"S": LEASE_KEY}}, ConsistentRead=True
                )
        except NotFound:
            create_table(self._dynamodb.client, self._table)
            return None
        item = answer.get("Item")
        if item is None:
            return None
        return LeaseRecord(int(item["token"]["N"]), item["holder"]["S"], int(item["count"]["N"]), item["notes"]["S"])

    def swap(self, old: LeaseRecord | None, new: LeaseRecord) -> bool:
        item = {
            KEY: {"S": LEASE_KEY},
            "token": _number(new.token),
            "holder": {"S": new.holder},
            "count": _number(new.count),
            "notes": {"S": new.notes},
        }
        condition: dict[str, Any] = {"ConditionExpression": f"attribute_not_exists({KEY})"}
        if old is not None:
            condition = {
                "ConditionExpression": "#token = :token AND #count = :count",
                "ExpressionAttributeNames": {"#token": "token", "#count": "count"},
                "ExpressionAttributeValues": {":token": _number(old.token), ":count": _number(old.count)},
            }
        try:
            with our_errors(f"change lease in {self._table}"):
                self._dynamodb.client.put_item(TableName=self._table, Item=item, **condition)
        except NotFound:
            return False  # the table was lost, and `old` with it
        except Permanent as error:
            if error_code(error) != "ConditionalCheckFailedException":
                raise
            # It may be our own write: its answer was lost and botocore sent it again.
            return self.read() == new
        return True


def create_table(dynamodb: Any, name: str) -> None:
    """Make the table if it is missing, and wait until it can be used."""
    try:
        with our_errors(f"create table {name}"):
            dynamodb.create_table(
                TableName=name,
                KeySchema=[{"AttributeName": KEY, "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": KEY, "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )
    except Permanent as error:
        if error_code(error) != "ResourceInUseException":
            raise
    with our_errors(f"table {name}"):
        dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    with our_errors(f"time to live of table {name}"):
        kept = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        if kept.get("TimeToLiveStatus", "DISABLED") == "DISABLED":
            setting = {"Enabled": True, "AttributeName": EXPIRES}
            dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=setting)


@contextmanager
def _lost_is_retryable() -> Iterator[None]:
    """A missing table is retryable: the controller makes it again when it next reads the lease."""
    try:
        yield
    except NotFound as error:
        raise Retryable(str(error)) from error


def _number(value: float) -> dict[str, str]:
    return {"N": str(value)}


def _beat(item: dict[str, Any]) -> Beat:
    def figure(name: str) -> float:
        value = float(item[name]["N"])
        if not 0 <= value < MOST:
            raise ValueError(f"{name} is {value:g}")
        return value

    try:
        return Beat(
            int(figure("count")),
            int(figure("finished")),
            int(figure("in_progress")),
            figure("busy_seconds"),
            figure("ready_seconds"),
            safe_json.text(item["model"]["S"]),
            item["leaving"]["BOOL"] is True,
            int(figure("received")) if "received" in item else 0,  # absent: the worker is of an older version
            item.get("waits_for_store", {}).get("BOOL") is True,
            safe_json.text(item["arithmetic"]["S"]) if "arithmetic" in item else "",  # a worker of an older image
            int(figure("peak_bytes")) if "peak_bytes" in item else 0,
            int(figure("dropped")) if "dropped" in item else 0,
            int(figure("bulk")) if "bulk" in item else 0,
            int(figure("bulk_finished")) if "bulk_finished" in item else 0,
            item.get("restarted", {}).get("BOOL") is True,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedMessage(f"not a beat: {error!r}") from error
