"""The tails of the venue `split` in a Lambda function, behind its own HTTPS address (a function URL).

Only signed calls of who may invoke the function get through: the address has the authorization type AWS_IAM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from shoal.aws.clients import client, our_errors, region, session, use
from shoal.aws.on_lambda.making import WantedFunction, check_image, create_function, create_role, remove_role
from shoal.errors import NotFound, Permanent, SettingsError
from shoal.proxies import is_direct
from shoal.settings import Settings
from shoal.settings.values import listed

HANDLER = "app_tier.function.tail_handler.handler"
POLICY = "tail-policy.json"
SIGNED = "AWS_IAM"
TAILS = "SHOAL_TAILS"
CONNECT_SECONDS = 5.0
BESIDE_SECONDS = 30.0  # that a call may take besides the function's own time: its start, and the way there and back


@dataclass(frozen=True, slots=True)
class TailFunction:
    """The function as it is. address: where activations are sent. tails: those that it runs. memory_mb: its memory.

    seconds: its time limit.
    """

    name: str
    address: str
    tails: tuple[str, ...]
    memory_mb: int
    seconds: int


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer to a call. headers: names in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def prepare_tail_function(settings: Settings) -> TailFunction:
    """Make the role, the function and its address. Safe to repeat. Raises SettingsError when no tail is named."""
    if not settings.served_tails:
        raise SettingsError("SHOAL_TAILS names no tail for the function: `shoal split prepare` makes one")
    check_image(settings)
    use(settings.cloud)
    functions = client("lambda")
    wanted = WantedFunction(settings.tail_function, POLICY, HANDLER, "The tails in Lambda", {TAILS: settings.tails})
    create_function(functions, settings, wanted, create_role(client("iam"), settings, wanted))
    _create_address(functions, settings.tail_function)
    return find_tail_function(settings)


def _create_address(functions: Any, name: str) -> None:
    """Give the function its address, for signed calls alone; also one whose authorization was changed."""
    try:
        with our_errors(f"address of function {name}"):
            found = functions.get_function_url_config(FunctionName=name)
    except NotFound:
        with our_errors(f"create the address of function {name}"):
            functions.create_function_url_config(FunctionName=name, AuthType=SIGNED)
        return
    if found["AuthType"] != SIGNED:
        with our_errors(f"address of function {name}"):
            functions.update_function_url_config(FunctionName=name, AuthType=SIGNED)


def find_tail_function(settings: Settings) -> TailFunction:
    """The function that `prepare_tail_function` has made. Raises NotFound, which says how to make it."""
    use(settings.cloud)
    name = settings.tail_function
    functions = client("lambda")
    try:
        with our_errors(f"function {name}"):
            found = functions.get_function_configuration(FunctionName=name)
            address = functions.get_function_url_config(FunctionName=name)
    except NotFound as error:
        raise NotFound(
            f"there is no function {name} with an address: `shoal prepare --venue split` makes it"
        ) from error
    if address["AuthType"] != SIGNED:
        raise Permanent(f"anybody may call the function {name}: `shoal prepare --venue split` closes it")
    variables = found.get("Environment", {}).get("Variables", {})
    tails = tuple(listed(variables.get(TAILS, "")))
    return TailFunction(name, str(address["FunctionUrl"]), tails, int(found["MemorySize"]), int(found["Timeout"]))


def remove_tail_function(settings: Settings) -> None:
    """Delete what `prepare_tail_function` made. Safe to repeat."""
    use(settings.cloud)
    functions, name = client("lambda"), settings.tail_function
    for what, delete in (
        ("address of function", functions.delete_function_url_config),
        ("function", functions.delete_function),
    ):
        try:
            with our_errors(f"delete {what} {name}"):
                delete(FunctionName=name)
        except NotFound:
            continue
    remove_role(client("iam"), name)


class SignedCalls:
    """Calls to the address of a function, signed with the credentials of this program. Threads may share it."""

    def __init__(self, function: TailFunction) -> None:
        self._address = function.address
        self._http = URLLib3Session(
            verify=session().certificates,
            proxies={} if is_direct(function.address) else get_environ_proxies(function.address),
            timeout=(CONNECT_SECONDS, function.seconds + BESIDE_SECONDS),
        )

    def post(self, body: bytes, kind: str) -> HttpAnswer:
        """Send a body of this media type. Raises Retryable if no answer comes, Permanent without credentials."""
        request = AWSRequest("POST", self._address, data=body, headers={"Content-Type": kind})
        with our_errors("the function's address"):
            SigV4Auth(session().credentials(), "lambda", region()).add_auth(request)
            answer = self._http.send(request.prepare())
        headers = {str(name).lower(): str(value) for name, value in answer.headers.items()}
        return HttpAnswer(int(answer.status_code), headers, bytes(answer.content))
