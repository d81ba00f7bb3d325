"""Checks that go beyond the type and the range of one setting."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from shoal.errors import SettingsError
from shoal.settings.declared import Settings
from shoal.settings.values import is_loopback

MAX_BUCKET_NAME = 63  # the limit of S3
MIN_SECRET = 16
_OWN_PLACE = re.compile(r"[^/]+:\d{1,5}")
OWN_FOLDERS = (
    "-probe/",
    "accounts/",
    "buried/",
    "corrections/",
    "deleted/",
    "failures/",
    "foreign/",
    "idempotency/",
    "pending/",
    "runs/",
    "sessions/",
    "suspects/",
    "webhooks/",
)


def check(settings: Settings) -> None:
    """Raise SettingsError, which names the variable, for values that are wrong by themselves or together."""
    if settings.min_instances > settings.max_instances:
        raise SettingsError(
            f"SHOAL_MIN_INSTANCES={settings.min_instances} is more than SHOAL_MAX_INSTANCES={settings.max_instances}"
        )
    if not settings.instance_types:
        raise SettingsError(f"SHOAL_INSTANCE_TYPE={settings.instance_type!r}: expected an instance type")
    _check_controller(settings)
    _check_prefix(settings)
    _check_intake(settings.intake_prefix)
    if settings.direct_uploads == "on" and settings.private_data == "remove":
        raise SettingsError(
            "SHOAL_DIRECT_UPLOADS=on: nobody removes the private data of photos that go straight to the bucket; set "
            "SHOAL_PRIVATE_DATA=keep, too, if that is meant"
        )
    _check_web(settings)
    if settings.otlp_endpoint and not settings.otlp_endpoint.startswith(("http://", "https://")):
        raise SettingsError(f"SHOAL_OTLP_ENDPOINT={settings.otlp_endpoint!r}: expected http://host:port or https://...")
    if settings.model_weights is not None and not settings.model_weights.is_file():
        raise SettingsError(f"SHOAL_MODEL_WEIGHTS={str(settings.model_weights)!r}: there is no such file")


def _check_web(settings: Settings) -> None:
    _ = settings.webhook_keys, settings.run_source_folders, settings.run_target_folders
    _check_oidc(settings)
    if 0 < len(settings.operator_secret) < MIN_SECRET:
        raise SettingsError(
            f"SHOAL_OPERATOR_SECRET: expected at least {MIN_SECRET} characters, so that it cannot be guessed"
        )
    if re.fullmatch(r"\d+(\.\d+){3}", settings.host) and not _is_address(settings.host):
        raise SettingsError(f"SHOAL_HOST={settings.host!r}: expected an IP address or a name of this machine")
    # Each of these is compared as text: a form that never matches would change nothing, and nobody would be told.
    for place in sorted(settings.fetch_own_places):
        if not _OWN_PLACE.fullmatch(place):
            raise SettingsError(f"SHOAL_FETCH_OWN={place!r}: expected host:port, for example 127.0.0.1:9000")
    for name in settings.allowed_host_names:
        if set(name) & set(":/"):
            raise SettingsError(f"SHOAL_ALLOWED_HOSTS={name!r}: expected a name alone, for example photos.example.com")
    if settings.trusted_proxy not in ("", "*") and not _is_address(settings.trusted_proxy):
        raise SettingsError(f"SHOAL_TRUSTED_PROXY={settings.trusted_proxy!r}: expected an IP address, or *")


def check_exposure(settings: Settings) -> None:
    """Raise SettingsError when others than this machine could reach the web server and nobody has said so."""
    if is_loopback(settings.host) or settings.open_to_all or settings.sign_in == "on":
        return
    if settings.sign_in == "auto" and (settings.operator_secret or settings.oidc_issuer):
        return
    raise SettingsError(
        f"SHOAL_HOST={settings.host}: others reach this machine, and nobody has said who may use Shoal. Set "
        "SHOAL_SIGN_IN=on, and add users with `shoal users add`; or set SHOAL_OPERATOR_SECRET (at least "
        f"{MIN_SECRET} characters), with which one person signs in; or SHOAL_OPEN_TO_ALL=1 if everybody may use it; or "
        "leave SHOAL_HOST at 127.0.0.1 and put a proxy in front that asks who comes"
    )


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _check_oidc(settings: Settings) -> None:
    issuer = settings.oidc_issuer
    if not issuer:
        return
    parts = urlsplit(issuer)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise SettingsError(f"SHOAL_OIDC_ISSUER={issuer!r}: expected https://...")
    if not settings.oidc_client_id:
        raise SettingsError("SHOAL_OIDC_ISSUER is set without SHOAL_OIDC_CLIENT_ID, which the provider gives")
    if not settings.oidc_user_names and not settings.oidc_operator_names:
        raise SettingsError(
            "SHOAL_OIDC_ISSUER is set, and SHOAL_OIDC_USERS names nobody who may sign in: addresses, @example.com or *"
        )
    if "*" in settings.oidc_operator_names:
        raise SettingsError("SHOAL_OIDC_OPERATORS='*': name the operators")


def _check_intake(prefix: str) -> None:
    for folder in OWN_FOLDERS if prefix else ():
        if folder.startswith(prefix) or prefix.startswith(folder):
            raise SettingsError(f"SHOAL_INTAKE_PREFIX={prefix!r}: Shoal keeps objects of its own under {folder!r}")


def _check_prefix(settings: Settings) -> None:
    plain = settings.prefix.replace("-", "")
    if not (plain.isascii() and plain.isalnum() and plain == plain.lower() and settings.prefix[0] != "-"):
        raise SettingsError(f"SHOAL_PREFIX={settings.prefix!r}: expected small letters, digits and hyphens")
    if len(settings.out_bucket) > MAX_BUCKET_NAME:
        raise SettingsError(
            f"SHOAL_PREFIX={settings.prefix!r}: too long, a bucket's name has at most {MAX_BUCKET_NAME} characters"
        )


def _check_controller(settings: Settings) -> None:
    if settings.lease_seconds < 2 * settings.tick_seconds:
        raise SettingsError(
            f"SHOAL_LEASE_SECONDS={settings.lease_seconds:g}: expected at least twice SHOAL_TICK_SECONDS: "
            "a controller renews its lease once a tick"
        )
    if settings.drain_by == "queue" and settings.actuator != "ec2":
        # A worker that leaves by itself while it is in a group is replaced by the group.
        raise SettingsError("SHOAL_DRAIN_BY='queue' works with SHOAL_ACTUATOR='ec2' only")
