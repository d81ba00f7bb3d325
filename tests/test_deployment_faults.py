"""`shoal deploy`, `destroy`, `bake` and `upgrade` fail at every single call.

A second try leaves what one without faults leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from shoal.aws import clients
from shoal.aws.deploying import upgrading
from shoal.deployment import code_package
from shoal_cli.__main__ import shoal
from shoal_cli._deployment import bake
from tests.aws_session import forget_session
from tests.baking_stand_in import BEFORE, OLD, BakingAccount
from tests.deployment_fixtures import refusal
from tests.deployment_stand_in import AccountInMemory, ClientInMemory, Killed, timeout

DEPLOY = ("deploy", "--pause", "0", "--no-wait", "--visitors", "203.0.113.7/32")
DESTROY = ("destroy", "--pause", "0", "--yes", "--delete-photos")
DENIED = "User: arn:aws:iam::1:user/me is not authorized to perform: cloudformation:Try on resource: arn:aws:x"
FAULTS: dict[str, tuple[str, Callable[[], BaseException]]] = {
    "throttled": ("before", lambda: refusal("Try", "Throttling", "Rate exceeded")),
    "denied": ("before", lambda: refusal("Try", "AccessDenied", DENIED)),
    "no capacity": ("before", lambda: refusal("Try", "InsufficientInstanceCapacity", "Try another zone")),
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
    """What the command prints, until it is killed."""
    account.calls.clear()
    monkeypatch.setattr(clients.Session, "client", lambda *_: ClientInMemory(account))
    said: list[str] = []
    monkeypatch.setattr(click, "echo", said.append)
    try:
        done = CliRunner().invoke(shoal, list(words))
    except Killed:
        said.append("killed")
    else:
        said.append(str(done.exception or done.output))
    return "\n".join(said)


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
        before = run(tried, monkeypatch, *DEPLOY)
        assert len(tried.calls) >= number
        tried = tried.copy()
        told = run(tried, monkeypatch, *DEPLOY)
        assert "is complete." in told or "Nothing was to change." in told, (number, told)
        assert tried.passwords[-1] in before + told, (number, before, told)
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


BAKE = ("bake", "--pause", "0", "--keep", "1")


@pytest.mark.parametrize("kind", FAULTS)
def test_a_bake_that_fails_at_any_call_leaves_one_image_and_nothing_else_after_the_second_try(
    account: AccountInMemory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    packed = tmp_path / "packed.tar"
    packed.write_bytes(b"code and models")
    monkeypatch.setattr(bake, "_packed", lambda *_: packed)
    whole = BakingAccount()
    del whole.machines[f"i-of-{OLD}"]
    first = whole.copy()
    assert "Baked ami-new" in run(whole, monkeypatch, *BAKE)
    assert ("image", OLD) not in whole.everything()
    assert ("image", BEFORE) in whole.everything()  # an instance runs from it

    for number in range(1, len(whole.calls) + 1):
        tried = first.copy()
        fail_at(tried, number, kind)
        run(tried, monkeypatch, *BAKE)
        assert len(tried.calls) >= number
        tried = tried.copy()
        told = run(tried, monkeypatch, *BAKE)
        assert "Baked ami-new" in told, (number, told)
        assert tried.everything() == whole.everything(), (number, told)


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("words", [(OLD,), ("--back",)])
def test_an_upgrade_that_fails_at_any_call_goes_on(
    account: AccountInMemory, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], kind: str
) -> None:
    """With --back the image is named before it is chosen, and that name goes on: --back again would return."""
    monkeypatch.setattr(upgrading, "IMAGE_SECONDS", 0.0)
    monkeypatch.setattr(upgrading, "LAUNCH_SECONDS", 0.0)
    first = BakingAccount()
    whole = first.copy()
    assert "1 of others have left" in run(whole, monkeypatch, "upgrade", "--pause", "0", *words)

    for number in range(1, len(whole.calls) + 1):
        tried = first.copy()
        fail_at(tried, number, kind)
        before = run(tried, monkeypatch, "upgrade", "--pause", "0", *words)
        assert len(tried.calls) >= number
        tried = tried.copy()
        again = (OLD,) if f"({OLD})" in before else words
        told = run(tried, monkeypatch, "upgrade", "--pause", "0", *again)
        assert "All workers are of" in told, (number, before, told)
        assert (tried.everything(), tried.counting()) == (whole.everything(), OLD), (number, before, told)
