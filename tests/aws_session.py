"""boto3's session of this process, which all tests of a process share."""

import pytest

from shoal.aws import clients


def forget_session(patch: pytest.MonkeyPatch) -> None:
    """Let the next call make a session by the environment of this test, and not by what an earlier one has used."""
    with clients._session_lock:  # a thread of the test before may be making a session
        patch.setattr(clients, "_session", None)
        patch.setattr(clients, "_variables", {})
