"""Which calls may go through the proxy that the environment names: never those to this machine or to its metadata."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
METADATA_IPV6 = ipaddress.IPv6Address("fd00:ec2::254")
# 169.254.170.2 and .23 give credentials to containers.
DIRECT_HOSTS = ("localhost", "127.0.0.1", "::1", "169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254")


def is_direct(url: str) -> bool:
    """Whether a call to `url` must not go through a proxy: its host is a loopback or a metadata address."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified or address.is_link_local or address == METADATA_IPV6


def set_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The proxy variables that are set, in any case of letters. User names and passwords are left out of the values."""
    found = {name: value for name, value in environment.items() if name.upper() in VARIABLES and value}
    return {name: _without_password(found[name]) for name in sorted(found)}


def with_direct_hosts(environment: Mapping[str, str]) -> dict[str, str]:
    """NO_PROXY in both cases of letters, as in `environment` and with DIRECT_HOSTS; empty if no proxy is set."""
    if not set_variables(environment):
        return {}
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    value = ",".join(filter(None, (given, *DIRECT_HOSTS)))
    return {"NO_PROXY": value, "no_proxy": value}


def _without_password(value: str) -> str:
    parts = urlsplit(value)
    if "@" not in parts.netloc:
        return value.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
