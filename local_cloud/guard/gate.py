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

VERSION_2 = (
    "Signature Version 2 is not supported: use AWS4-HMAC-SHA256, Signature Version 4. Before `aws s3 presign`: "
    "aws configure set default.s3.signature_version s3v4. In boto3: Config(signature_version='s3v4')."
)


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

    form_fields:   reads the fields of an upload form as the store will read them.
    check_address: raises Refused when the service of this name is not behind this gate.
    """

    def __init__(
        self,
        callers: Callers,
        permissions: Permissions,
        form_fields: Callable[[SignedRequest], Mapping[str, str]] = lambda _: {},
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        check_address: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._callers = callers
        self._permissions = permissions
        self._form_fields = form_fields
        self._now = now
        self._check_address = check_address

    def check_claim(self, call: SignedRequest) -> None:
        """Raise Refused for a call that no body could make valid: it is not signed."""
        if signatures.is_version_2(call):
            raise Refused("InvalidRequest", VERSION_2)
        if not call.is_form and not signatures.access_key_id(call):
            raise Refused("MissingAuthenticationToken", "Request is missing Authentication Token")

    def check(self, call: SignedRequest) -> Caller:
        """Return who calls. Raises Refused."""
        self.check_claim(call)
        if call.is_form:
            caller = signatures.check_form(self._form_fields(call), self._callers.find)
        else:
            caller = signatures.check(call, self._callers.find, self._now())
            self._check_address(signatures.signed_service(call))
        self._permissions.check(caller, call)
        return caller
