"""Uploads on Amazon S3: presigned POST (a form with a policy) into one bucket."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSRequest
from urllib3 import encode_multipart_formdata

from shoal.aws import signed
from shoal.aws.clients import Service, our_errors
from shoal.aws.s3 import S3Store
from shoal.errors import Retryable
from shoal.ports import UploadForm

# Sorts before every batch id: no listing of photos shows it.
PROBE_PREFIX = "-probe/"
PROBE_SECONDS = 60
PROBE_BYTES = 16
ELSEWHERE = "https://shoal.invalid"  # a page of another origin


class S3Uploads:
    """Makes forms, without a call to S3."""

    def __init__(self, s3: Service, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._store = S3Store(s3, bucket)

    @property
    def origin(self) -> str:
        address = urlsplit(self._s3.bucket(self._bucket))
        return f"{address.scheme}://{address.netloc}"

    def form(self, key: str, most_bytes: int, seconds: int) -> UploadForm:
        conditions = [["content-length-range", 1, most_bytes], ["starts-with", "$Content-Type", "image/"]]
        with our_errors(f"form for {key}"):
            made = self._s3.client.generate_presigned_post(self._bucket, key, Conditions=conditions, ExpiresIn=seconds)
        # The same kind of address as S3Store's, whatever boto3 prefers, so that `works` tests what all forms use.
        return UploadForm(self._s3.bucket(self._bucket), dict(made["fields"]))

    def works(self) -> bool:
        key = f"{PROBE_PREFIX}{secrets.token_hex(8)}"
        form = self.form(key, PROBE_BYTES, PROBE_SECONDS)
        try:
            refuses = not any(
                (
                    self._sent(form, b"x" * (PROBE_BYTES + 1), "image/png"),
                    self._sent(form, b"x", "text/html"),
                    self._sent(UploadForm(form.url, {**form.fields, "key": f"{key}-other"}), b"x", "image/png"),
                )
            )
            return refuses and self._sent(form, b"x", "image/png")
        finally:
            for one in (key, f"{key}-other"):
                self._store.delete(one)

    def remove_probes(self, before: float) -> int:
        left = [one.key for one in self._store.list(PROBE_PREFIX) if one.modified_at < before]
        for key in left:
            self._store.delete(key)
        return len(left)

    def _sent(self, form: UploadForm, body: bytes, content_type: str) -> bool:
        """Whether S3 accepts the form and lets a page of another origin read the answer."""
        fields: dict[str, Any] = {**form.fields, "Content-Type": content_type, "file": ("probe", body)}
        encoded, kind = encode_multipart_formdata(fields)
        headers = {"Origin": ELSEWHERE, "Content-Type": kind}
        with our_errors(f"form of {self._bucket}"):
            answer = signed.send(form.url, AWSRequest("POST", form.url, data=encoded, headers=headers))
        if answer.status_code >= 500:
            raise Retryable(f"form of {self._bucket}: the store answers {answer.status_code}")
        allowed = answer.headers.get("Access-Control-Allow-Origin", "")
        return bool(answer.status_code < 300 and allowed in ("*", ELSEWHERE))


def allow_forms(s3: Any, bucket: str) -> None:
    """Let pages of any origin send forms to the bucket: the form's signature is the permission."""
    rule = {"AllowedOrigins": ["*"], "AllowedMethods": ["POST"], "AllowedHeaders": ["*"], "MaxAgeSeconds": 3600}
    with our_errors(f"CORS of bucket {bucket}"):
        s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
