"""ObjectStore on Amazon S3: one bucket."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote_plus, urlencode, urlsplit
from xml.etree import ElementTree

from shoal.aws import signed
from shoal.aws.clients import Service, error_code, our_errors
from shoal.errors import BucketMissing, Changed, NotFound, Permanent, ShoalError
from shoal.ports import StoredObject

EXPIRY = "shoal-keep-days"
IDS_BEGIN = "1"  # ids of batches, which begin with the time: until the year 2039
FORBIDDEN = "403"  # a HEAD has no body that could say more
PRECONDITION_FAILED = {"PreconditionFailed", "412"}
BEHIND_THE_END = {"InvalidRange", "416"}
PAGE_OBJECTS = 1000  # the most that S3 lists in one call


class S3Store:
    """One bucket by its name."""

    def __init__(self, s3: Service, bucket: str) -> None:
        self._s3 = s3
        self.bucket = bucket

    def put(self, key: str, body: bytes, content_type: str) -> None:
        with self._errors(f"write {key} to {self.bucket}"):
            if self._call("PUT", self._path(key), {"Content-Type": content_type}, body) is None:
                self._s3.client.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType=content_type)

    def put_new(self, key: str, body: bytes, content_type: str) -> bool:
        try:
            return self._put_if_new(key, body, content_type)
        except ShoalError as error:
            if error_code(error) != "ConditionalRequestConflict":
                raise
            # Another write or a removal of this object was under way, S3 does not say which.
            return self._put_if_new(key, body, content_type)

    def _put_if_new(self, key: str, body: bytes, content_type: str) -> bool:
        headers = {"Content-Type": content_type, "If-None-Match": "*"}
        try:
            with self._errors(f"write {key} to {self.bucket}"):
                if self._call("PUT", self._path(key), headers, body) is not None:
                    return True
                self._s3.client.put_object(
                    Bucket=self.bucket, Key=key, Body=body, ContentType=content_type, IfNoneMatch="*"
                )
        except ShoalError as error:
            if error_code(error) in PRECONDITION_FAILED:
                return False
            raise
        return True

    def get(self, key: str) -> bytes:
        with self._errors(f"read {key} from {self.bucket}"):
            answer = self._call("GET", self._path(key))
            if answer is None:
                return bytes(self._s3.client.get_object(Bucket=self.bucket, Key=key)["Body"].read())
            return answer

    def get_part(self, key: str, start: int, most: int) -> bytes:
        part = f"bytes={start}-{start + most - 1}"
        try:
            with self._errors(f"read {key} from {self.bucket}"):
                answer = self._call("GET", self._path(key), {"Range": part})
                if answer is None:
                    return bytes(self._s3.client.get_object(Bucket=self.bucket, Key=key, Range=part)["Body"].read())
                return answer
        except ShoalError as error:
            if error_code(error) in BEHIND_THE_END:
                return b""
            raise

    def get_unchanged(self, key: str, etag: str) -> bytes:
        if not etag:
            return self.get(key)
        try:
            with self._errors(f"read {key} from {self.bucket}"):
                answer = self._call("GET", self._path(key), {"If-Match": etag})
                if answer is None:
                    found = self._s3.client.get_object(Bucket=self.bucket, Key=key, IfMatch=etag)
                    return bytes(found["Body"].read())
                return answer
        except ShoalError as error:
            if error_code(error) in PRECONDITION_FAILED:
                raise Changed(f"{key} in {self.bucket} was overwritten") from error
            raise

    def list(self, prefix: str, after: str = "", most: int | None = None) -> Iterator[StoredObject]:
        token: str | None = ""
        left = sys.maxsize if most is None else most
        while token is not None and left > 0:
            with self._errors(f"list {self.bucket}"):
                found, token = self._page(prefix, after, token, min(left, PAGE_OBJECTS))
            left -= len(found)
            yield from found

    def _page(self, prefix: str, after: str, token: str, size: int) -> tuple[Sequence[StoredObject], str | None]:
        """Up to `size` objects, and the token of the next page, None after the last."""
        query = {"list-type": "2", "encoding-type": "url", "max-keys": str(size), "prefix": prefix}
        query |= {"continuation-token": token} if token else {"start-after": after} if after else {}
        root = "" if urlsplit(self._s3.bucket(self.bucket)).path else "/"
        answer = self._call("GET", f"{root}?{urlencode(query, quote_via=quote, safe='~')}")
        if answer is not None:
            return _read_page(answer)
        more = {"ContinuationToken": token} if token else {}
        page = self._s3.client.list_objects_v2(
            Bucket=self.bucket, Prefix=prefix, StartAfter=after, MaxKeys=size, **more
        )
        found = [
            StoredObject(one["Key"], one["Size"], one["LastModified"].timestamp(), one.get("ETag", ""))
            for one in page.get("Contents", ())
        ]
        return found, page.get("NextContinuationToken")

    def delete(self, key: str) -> None:
        with self._errors(f"remove {key} from {self.bucket}"):
            self._s3.client.delete_object(Bucket=self.bucket, Key=key)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turn botocore's errors into ours. That the whole bucket is away is no answer about an object."""
        try:
            with our_errors(what):
                yield
        except NotFound as error:
            if error_code(error) == "NoSuchBucket":
                raise BucketMissing(str(error)) from error.__cause__
            raise

    def _call(
        self, verb: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> bytes | None:
        return signed.call(self._s3, verb, path, headers or {}, body, self.bucket)

    def _path(self, key: str) -> str:
        return f"/{quote(key, safe='/~')}"


class S3Buckets:
    """Every bucket by its name."""

    def __init__(self, s3: Service) -> None:
        self._s3 = s3

    def __getitem__(self, name: str) -> S3Store:
        return S3Store(self._s3, name)


def _read_page(answer: bytes) -> tuple[Sequence[StoredObject], str | None]:
    """What a listing with URL-encoded keys says: boto3 needs 0.2 ms for each key, most of it for the time."""
    root = ElementTree.fromstring(answer)
    found = [
        StoredObject(
            unquote_plus(one.findtext("{*}Key", "")),
            int(one.findtext("{*}Size", "")),
            datetime.fromisoformat(one.findtext("{*}LastModified", "")).timestamp(),
            one.findtext("{*}ETag", ""),
        )
        for one in root.iterfind("{*}Contents")
    ]
    return found, root.findtext("{*}NextContinuationToken")


def create_bucket(s3: Any, bucket: str) -> None:
    """Make a private bucket, or make the one that exists private. Raises Permanent when it is not ours."""
    if not _is_there(s3, bucket):
        _create(s3, bucket)
    with our_errors(f"public access of bucket {bucket}"):
        s3.put_public_access_block(
            Bucket=bucket,
            PublicAccessBlockConfiguration={
                "BlockPublicAcls": True,
                "IgnorePublicAcls": True,
                "BlockPublicPolicy": True,
                "RestrictPublicBuckets": True,
            },
        )


def _is_there(s3: Any, bucket: str) -> bool:
    """Whether the bucket exists. Raises Permanent when it is another account's or in another region."""
    try:
        with our_errors(f"bucket {bucket}"):
            found = s3.head_bucket(Bucket=bucket)
    except NotFound:
        return False
    except Permanent as error:
        if error_code(error) == FORBIDDEN:
            raise Permanent(f"{error} ({not_ours(bucket)})") from error.__cause__
        raise
    # boto3 follows S3 to the other region, but the calls for each photo and forms do not.
    there, here = found.get("BucketRegion"), s3.meta.region_name
    if there and here and there != here:
        raise Permanent(
            f"bucket {bucket} is in {there}, and Shoal in {here}: set AWS_DEFAULT_REGION={there}, or SHOAL_PREFIX to "
            "something of your own"
        )
    return True


def expire(s3: Any, bucket: str, days: float, folders: Sequence[str] = ()) -> None:
    """Have the bucket delete what belongs to batches at an age; 0 days for never. Leaves rules of others as they are.

    folders: those that have a folder for each batch. Accounts, keys and what is not Shoal's stay.
    """
    found = _lifecycle(s3, bucket)
    others = [rule for rule in found if not str(rule.get("ID")).startswith(EXPIRY)]
    wanted = [*others, *(_expiry(prefix, days) for prefix in ("", *folders))] if days else others
    if wanted == found:
        return
    with our_errors(f"expiry of bucket {bucket}"):
        if wanted:
            s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": wanted})
        else:
            s3.delete_bucket_lifecycle(Bucket=bucket)


def _expiry(folder: str, days: float) -> dict[str, Any]:
    prefix = f"{folder}/{IDS_BEGIN}" if folder else IDS_BEGIN
    name = f"{EXPIRY}-{folder.replace('/', '-')}" if folder else EXPIRY
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": prefix}, "Expiration": {"Days": math.ceil(days)}}


def _lifecycle(s3: Any, bucket: str) -> list[dict[str, Any]]:
    try:
        with our_errors(f"expiry of bucket {bucket}"):
            return list(s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"])
    except NotFound:
        return []


def check_bucket(s3: Any, bucket: str) -> None:
    """Raises NotFound, and Permanent when the bucket is another account's or in another region."""
    if not _is_there(s3, bucket):
        raise NotFound(f"there is no bucket {bucket}")


def _create(s3: Any, bucket: str) -> None:
    region = s3.meta.region_name
    place = {} if region in (None, "us-east-1") else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        with our_errors(f"create bucket {bucket}"):
            s3.create_bucket(Bucket=bucket, **place)
    except Permanent as error:
        if error_code(error) == "BucketAlreadyExists":
            raise Permanent(f"{error} ({not_ours(bucket)})") from error.__cause__
        if error_code(error) != "BucketAlreadyOwnedByYou":
            raise


def not_ours(bucket: str) -> str:
    """Why S3 may forbid a whole bucket, and what to do."""
    return (
        f"{bucket} is another AWS account's, then set SHOAL_PREFIX to something of your own; or these credentials "
        "may not list it"
    )
