"""How a webhook is signed: Standard Webhooks (standardwebhooks.com), version 1. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence


def headers(keys: Sequence[bytes], identity: str, at: int, body: bytes) -> dict[str, str]:
    """The headers of a delivery: its id, the same each time it is tried; when it is tried, in seconds since 1970; and a
    signature by each of the keys, so that a receiver which knows the old or the new one can tell that it is ours."""
    signed = f"{identity}.{at}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys]
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
