"""Lets a bucket announce its new objects in a queue."""

from __future__ import annotations

import json
from typing import Any

from shoal.aws.clients import our_errors
from shoal.aws.sqs import queue_arn


def announce(s3: Any, sqs: Any, bucket: str, prefix: str, queue: str) -> None:
    """Let `bucket` send a message to `queue` for each new object under `prefix`. Other notifications stay."""
    arn = queue_arn(sqs, queue)
    partition = arn.split(":")[1]
    statement = {
        "Sid": "TheInputBucketAnnouncesPhotos",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": f"arn:{partition}:s3:::{bucket}"}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    rule = {
        "QueueArn": arn,
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}},
    }
    with our_errors(f"notifications of {bucket}"):
        sqs.set_queue_attributes(QueueUrl=sqs.get_queue_url(QueueName=queue)["QueueUrl"], Attributes={"Policy": policy})
        found = s3.get_bucket_notification_configuration(Bucket=bucket)
        found.pop("ResponseMetadata", None)
        known = found.get("QueueConfigurations", ())
        if any(one["QueueArn"] == arn and _values(one) == [prefix] for one in known):
            return
        others = [one for one in known if one["QueueArn"] != arn]
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={**found, "QueueConfigurations": [*others, rule]}
        )


def _values(rule: dict[str, Any]) -> list[str]:
    """The values of the rule's filter."""
    return [one["Value"] for one in rule.get("Filter", {}).get("Key", {}).get("FilterRules", ())]
