"""ministack's Lambda made to behave: functions call in their role, and no event is lost to the concurrency limit."""

import contextvars
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import ministack.core.lambda_runtime
import ministack.services.lambda_svc

from local_cloud import points
from local_cloud.guard.sessions import RoleSession, SessionKeys

# A function's process cannot renew its credentials, so they stay valid for longer than it lives.
VALID_SECONDS = 365 * 24 * 3600.0
# AWS tries a throttled event again for six hours.
THROTTLED_SECONDS = 6 * 3600.0
PAUSE_SECONDS = 0.05

_is_event = contextvars.ContextVar("is_event", default=False)


def hook(sessions: SessionKeys) -> None:
    """Replace ministack's functions, once in a process."""

    def credentials(_: Callable[..., Any]) -> Callable[..., Any]:
        return lambda config: role_credentials(sessions, config)

    # The second module has imported the function by its name.
    points.replace(ministack.core.lambda_runtime, "execution_credentials", credentials)
    points.replace(ministack.services.lambda_svc, "execution_credentials", credentials)
    points.replace(ministack.services.lambda_svc, "invoke_async_with_retry", _marked)
    points.replace(ministack.services.lambda_svc, "_execute_function", _patient)


def role_credentials(sessions: SessionKeys, config: Mapping[str, Any]) -> dict[str, str]:
    """The variables with the credentials of a function's role, for the function's process."""
    role = str(config["Role"]).rpartition("/")[2]
    key = f"ASIA{secrets.token_hex(8).upper()}"
    session = RoleSession(key, role, str(config["FunctionName"]), time.time() + VALID_SECONDS)
    secret, token = sessions.issue(session)
    return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token}


def _marked(original: Callable[..., Any]) -> Callable[..., Any]:
    """Mark the context of an event. ministack copies it into the thread that handles the event."""

    def invoke(func: Any, event: Any) -> None:
        mark = _is_event.set(True)
        try:
            original(func, event)
        finally:
            _is_event.reset(mark)

    return invoke


def _patient(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let an event wait while the function is throttled. ministack counts a throttled call as a failed attempt."""

    def execute(func: Any, event: Any) -> Any:
        deadline = time.monotonic() + THROTTLED_SECONDS
        while True:
            result = original(func, event)
            if not (_is_event.get() and result.get("throttle")) or time.monotonic() > deadline:
                return result
            time.sleep(PAUSE_SECONDS)

    return execute
