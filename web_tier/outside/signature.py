"""Signs webhooks as Standard Webhooks (standardwebhooks.com), version 1, says. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence


def headers(keys: Sequence[bytes], identity: str, at: int, body: bytes) -> dict[str, str]:
    """The headers of a delivery.

    keys:     sign with each of them, so that a receiver may know the old or the new key.
    identity: the id of the event, the same for each attempt.
    at:       the time of this attempt, in seconds since 1970.
    """
    signed = f"{identity}.{at}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys]
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
