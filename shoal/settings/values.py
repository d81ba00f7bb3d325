"""What the texts of some settings mean."""

from __future__ import annotations

import base64
import binascii
from ipaddress import ip_address

from shoal.errors import SettingsError

WEBHOOK_PREFIX = "whsec_"
S3 = "s3://"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server at `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def listed(text: str) -> tuple[str, ...]:
    """The parts between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def bucket_folder(variable: str, text: str) -> tuple[str, str]:
    """The bucket of `s3://bucket/prefix`, and the prefix, which ends with a slash or is empty. Raises SettingsError."""
    bucket, _, prefix = text.removeprefix(S3).partition("/")
    if not text.startswith(S3) or not bucket:
        raise SettingsError(f"{variable}={text!r}: expected s3://bucket or s3://bucket/prefix")
    return bucket, prefix if not prefix or prefix.endswith("/") else f"{prefix}/"


def webhook_key(secret: str) -> bytes:
    """The bytes of a key that signs webhooks. Raises SettingsError."""
    try:
        key = base64.b64decode(secret.removeprefix(WEBHOOK_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if secret.startswith(WEBHOOK_PREFIX) and 24 <= len(key) <= 64:
        return key
    raise SettingsError(
        f"SHOAL_WEBHOOK_SECRET: expected {WEBHOOK_PREFIX} and 24 to 64 bytes in base64; "
        f'`echo "{WEBHOOK_PREFIX}$(openssl rand -base64 32)"` makes one'
    )
