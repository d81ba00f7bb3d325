"""`shoal deploy` and `destroy` fail at every single call: a second try leaves what one without faults leaves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner

from shoal.aws import clients
from shoal.deployment import code_package
from shoal_cli.__main__ import shoal
from tests.aws_session import forget_session
from tests.deployment_fixtures import refusal
from tests.deployment_stand_in import AccountInMemory, ClientInMemory, Killed, timeout

DEPLOY = ("deploy", "--pause", "0", "--no-wait", "--visitors", "203.0.113.7/32")
DESTROY = ("destroy", "--pause", "0", "--yes", "--delete-photos")
DENIED = "User: arn:aws:iam::1:user/me is not authorized to perform: cloudformation:Try on resource: arn:aws:x"
FAULTS: dict[str, tuple[str, Callable[[], BaseException]]] = {
    "throttled": ("before", lambda: refusal("Try", "Throttling", "Rate exceeded")),
    "denied": ("before", lambda: refusal("Try", "AccessDenied", DENIED)),
    "answer lost": ("after", timeout),
    "Ctrl-C": ("after", KeyboardInterrupt),
    "killed before the call": ("before", Killed),
    "killed after the call": ("after", Killed),
}


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> AccountInMemory:
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    for name, value in {**keys, "AWS_DEFAULT_REGION": "us-east-1", "SHOAL_PREFIX": "fish"}.items():
        monkeypatch.setenv(name, value)
    forget_session(monkeypatch)
    monkeypatch.setattr(code_package, "pack", lambda: ("code.tar.gz", b"code"))
    return AccountInMemory("fish")


def run(account: AccountInMemory, monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    """What the command prints; empty when it was killed."""
    account.calls.clear()
    monkeypatch.setattr(clients.Session, "client", lambda *_: ClientInMemory(account))
    try:
        done = CliRunner().invoke(shoal, list(words))
    except Killed:
        return ""
    return f"{done.output}{done.exception or ''}"


def fail_at(account: AccountInMemory, number: int, kind: str) -> None:
    """Let that call fail, once. A killed process makes no further call."""
    where, error = FAULTS[kind]

    def fault(call: int) -> None:
        if call == number or (call > number and error is Killed):
            raise error()

    setattr(account, where, fault)
    if error is Killed:
        account.before = fault if where == "before" else lambda call: fault(call) if call > number else None


def used(account: AccountInMemory) -> AccountInMemory:
    """The account after its Shoal has worked: workers, photos, the queue of a web process."""
    account.instances.add("i-worker")
    account.there.add(("queue", "fish-resp-queue-0123456789ab"))
    account.objects["fish-in-bucket"] = {"batch/0/a.jpg"}
    return account


@pytest.mark.parametrize("kind", FAULTS)
def test_a_deployment_that_fails_at_any_call_goes_on(
    account: AccountInMemory, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    whole = account.copy()
    assert "The stack fish is complete." in run(whole, monkeypatch, *DEPLOY)

    for number in range(1, len(whole.calls) + 1):
        tried = account.copy()
        fail_at(tried, number, kind)
        run(tried, monkeypatch, *DEPLOY)
        assert len(tried.calls) >= number
        tried = tried.copy()
        told = run(tried, monkeypatch, *DEPLOY)
        assert "is complete." in told or "Nothing was to change." in told, (number, told)
        assert tried.everything() == whole.everything(), (number, told)


@pytest.mark.parametrize("kind", FAULTS)
def test_a_destruction_that_fails_at_any_call_leaves_nothing_at_the_second_try(
    account: AccountInMemory, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    run(account, monkeypatch, *DEPLOY)
    whole = used(account).copy()
    assert "Nothing tagged shoal:fish is left." in run(whole, monkeypatch, *DESTROY)
    assert whole.everything() == set()

    for number in range(1, len(whole.calls) + 1):
        tried = account.copy()
        fail_at(tried, number, kind)
        run(tried, monkeypatch, *DESTROY)
        assert len(tried.calls) >= number
        tried = tried.copy()
        assert "Nothing tagged shoal:fish is" in run(tried, monkeypatch, *DESTROY), number
        assert tried.everything() == set(), number


def test_without_capacity_for_the_page_the_second_try_goes_on(
    account: AccountInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.full = True
    assert "stack fish is CREATE_FAILED" in run(account, monkeypatch, *DEPLOY)
    account.full = False
    assert "The stack fish is complete." in run(account, monkeypatch, *DEPLOY)
    assert "Nothing tagged shoal:fish is left." in run(account, monkeypatch, *DESTROY)
    assert account.everything() == set()
