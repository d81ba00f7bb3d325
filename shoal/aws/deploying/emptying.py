"""Empties a bucket, so that it can be deleted."""

from __future__ import annotations

from shoal.aws.clients import client, our_errors

AT_ONCE = 1000  # S3's own limit


def empty(bucket: str) -> int:
    """Delete all objects of a bucket, with all their versions; returns how many. Raises Permanent and Retryable."""
    s3, count = client("s3"), 0
    with our_errors(f"empty {bucket}"):
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            objects = [
                {"Key": one["Key"], "VersionId": one["VersionId"]}
                for kind in ("Versions", "DeleteMarkers")
                for one in page.get(kind) or ()
            ]
            for start in range(0, len(objects), AT_ONCE):
                part = objects[start : start + AT_ONCE]
                s3.delete_objects(Bucket=bucket, Delete={"Objects": part, "Quiet": True})
                count += len(part)
    return count
