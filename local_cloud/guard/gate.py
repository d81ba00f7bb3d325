"""What both ports of this cloud ask of every call, before anything reads it."""

import ipaddress
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from local_cloud.guard import signatures
from local_cloud.guard.callers import Caller, Callers
from local_cloud.guard.permissions import Permissions
from local_cloud.guard.refusal import Refused
from local_cloud.guard.signatures import SignedRequest

HOSTS = "this cloud answers to localhost and to IP addresses, and to no other name"


def names_this_machine(host: str) -> bool:
    """Whether a Host header is `localhost` or an IP address, with or without a port.

    A web page can make its own name point to this machine (DNS rebinding), but not another one's address.
    """
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    if name.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


class Gate:
    """Lets calls through that are signed, and that the policies of the caller's role allow.

    form_fields: reads the fields of an upload form as the store will read them.
    """

    def __init__(
        self,
        callers: Callers,
        permissions: Permissions,
        form_fields: Callable[[SignedRequest], Mapping[str, str]] = lambda _: {},
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._callers = callers
        self._permissions = permissions
        self._form_fields = form_fields
        self._now = now

    def check_claim(self, call: SignedRequest) -> None:
        """Raise Refused for a call that no body could make valid: it is not signed."""
        if not call.is_form and not signatures.access_key_id(call):
            raise Refused("MissingAuthenticationToken", "Request is missing Authentication Token")

    def check(self, call: SignedRequest) -> Caller:
        """Return who calls. Raises Refused."""
        self.check_claim(call)
        if call.is_form:
            caller = signatures.check_form(self._form_fields(call), self._callers.find)
        else:
            caller = signatures.check(call, self._callers.find, self._now())
        self._permissions.check(caller, call)
        return caller
