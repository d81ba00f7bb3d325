"""Whole emulated AWS accounts, ministack's and moto's, and the commands that deploy to them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import pytest
from botocore.config import Config
from click.testing import CliRunner

from benchmarks.running.ports import free_port
from shoal.aws import clients
from shoal_cli.__main__ import shoal
from tests.aws_session import forget_session
from tests.waiting import wait_for

ROOT = Path(__file__).parents[1]
ANYBODY = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
SERVICES = (
    "s3,sqs,sns,dynamodb,lambda,ec2,iam,sts,cloudformation,cloudwatch,logs,autoscaling,"
    "elasticloadbalancing,acm,ssm,route53"
)
QUICK = ("--pause", "0.02")
Fault = Callable[[str], Any]


class EmulatedAccount:
    """An account at one address. Each of its Shoals has a prefix of its own."""

    def __init__(self, url: str) -> None:
        self.variables = {"AWS_ENDPOINT_URL": url, **ANYBODY}

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.variables["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def call(self, service: str, action: str, **members: Any) -> Any:
        return getattr(self.client(service), action)(**members)


@contextlib.contextmanager
def emulator(state: Path, *program: str, variables: Mapping[str, str], url: str) -> Iterator[EmulatedAccount]:
    """A process that answers as AWS, until the test ends."""
    with (state / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *program], cwd=state, env={**os.environ, **variables}, stdout=log, stderr=log
        )
        try:
            account = EmulatedAccount(url)
            wait_for(lambda: _answers(account, process), 60, (state / "log").read_text)
            yield account
        finally:
            process.kill()  # it has nothing to save
            process.wait()


def _answers(account: EmulatedAccount, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None
    try:
        account.client("sts").get_caller_identity()
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError):
        return False
    return True


@contextlib.contextmanager
def ministack_account(state: Path) -> Iterator[EmulatedAccount]:
    """ministack with all services that a deployment needs, without the embedded cloud around it."""
    port = free_port()
    variables = {
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "SERVICES": SERVICES,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "STATE_DIR": str(state / "state"),
        "S3_DATA_DIR": str(state / "s3"),
        "LOG_LEVEL": "WARNING",
    }
    with emulator(state, "-m", "ministack", variables=variables, url=f"http://127.0.0.1:{port}") as account:
        yield account


@contextlib.contextmanager
def moto_account(state: Path) -> Iterator[EmulatedAccount]:
    """moto's server."""
    port = free_port()
    program = ("-m", "moto.server", "-H", "127.0.0.1", "-p", str(port))
    with emulator(state, *program, variables={}, url=f"http://127.0.0.1:{port}") as account:
        yield account


class Deployer:
    """A person with the `shoal` command and an account. fault: is told each call before it is made."""

    def __init__(self, account: EmulatedAccount, prefix: str, patch: pytest.MonkeyPatch) -> None:
        self.account = account
        self.prefix = prefix
        self.fault: Fault = lambda _: None
        for name in [name for name in os.environ if name.startswith(("AWS_", "SHOAL_"))]:
            patch.delenv(name)
        for name, value in {**account.variables, "SHOAL_PREFIX": prefix}.items():
            patch.setenv(name, value)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        patch.setattr(clients, "CONFIG", clients.CONFIG.merge(Config(retries={"total_max_attempts": 1})))
        patch.setattr(clients, "DIRECT_CONFIG", clients.DIRECT_CONFIG.merge(Config(retries={"total_max_attempts": 1})))
        self._patch = patch
        self._watch_calls()

    def _watch_calls(self) -> None:
        make = clients.Session.client

        def client(session: clients.Session, service: str) -> Any:
            made = make(session, service)
            made.meta.events.register("before-call.*.*", self._before, unique_id="deployer")
            return made

        self._patch.setattr(clients.Session, "client", client)
        self.forget_session()

    def forget_session(self) -> None:
        """Let the next command read credentials and region anew."""
        forget_session(self._patch)

    def _before(self, model: Any, **_: Any) -> Any:
        answer = self.fault(model.name)
        if answer is None and model.name == "GetServiceQuota":  # no emulator knows EC2's
            answer = OK_ANSWER, {"Quota": {"Value": 64.0}}
        return answer

    def run(self, *words: str, typed: str = "") -> str:
        """What a command prints, and at its end the error that it stops with."""
        done = CliRunner().invoke(shoal, list(words), input=typed)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            return f"{done.output}shoal: {type(done.exception).__name__}: {done.exception}"
        return done.output

    def deploy(self, *words: str) -> str:
        return self.run("deploy", *QUICK, *words)

    def destroy(self, *words: str) -> str:
        return self.run("destroy", *QUICK, "--yes", *(words or ("--delete-photos",)))

    def answering(self, canned: Mapping[str, Any]) -> None:
        """Let AWS answer so to these calls: with the parsed answer, or with an error of this code and text."""

        def fault(name: str) -> Any:
            if name not in canned:
                return None
            answer = canned[name]
            if isinstance(answer, tuple):
                raise refusal(name, *answer)
            return OK_ANSWER, answer

        self.fault = fault


class _OkAnswer:
    status_code = 200


OK_ANSWER = _OkAnswer()


def refusal(name: str, code: str, text: str) -> botocore.exceptions.ClientError:
    """AWS' refusal of a call."""
    error = {"Error": {"Code": code, "Message": text}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return botocore.exceptions.ClientError(error, name)


DENIED = "User: arn:aws:iam::1:user/me is not authorized to perform: cloudformation:Try on resource: arn:aws:x"


class OneFault:
    """Lets one call fail, the first of its name: too often, not permitted, or with Ctrl-C."""

    def __init__(self, name: str, kind: str) -> None:
        self._name = name
        self._kind = kind
        self.came = False

    def __call__(self, name: str) -> None:
        if name != self._name or self.came:
            return
        self.came = True
        if self._kind == "Ctrl-C":
            raise KeyboardInterrupt
        words = {"throttled": ("Throttling", "Rate exceeded"), "denied": ("AccessDenied", DENIED)}
        raise refusal(name, *words[self._kind])


KILLED = """
import os, signal, sys
from shoal.aws import clients
from shoal.aws.template import LaunchTemplate
from shoal_cli.__main__ import main

make, step = clients.Session.client, sys.argv[1]

def die(model, **_):
    if model.name == step:
        os.kill(os.getpid(), signal.SIGKILL)

def client(session, service):
    made = make(session, service)
    made.meta.events.register("after-call.*.*", die, unique_id="die")
    return made

clients.Session.client = client
sys.argv = ["shoal", *sys.argv[2:]]
main()
"""


def queue(account: EmulatedAccount, name: str) -> dict[str, Any]:
    """What a queue is set to, its dead letters' queue without the prefix."""
    sqs = account.client("sqs")
    found = sqs.get_queue_attributes(QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"], AttributeNames=["All"])
    names = ("VisibilityTimeout", "MaximumMessageSize", "MessageRetentionPeriod", "RedrivePolicy", "DelaySeconds")
    attributes = {key: value for key, value in found["Attributes"].items() if key in names}
    if "RedrivePolicy" in attributes:
        redrive = json.loads(attributes["RedrivePolicy"])
        arn = redrive["deadLetterTargetArn"].rpartition(":")[2].partition("-")[2]
        attributes["RedrivePolicy"] = (arn, int(redrive["maxReceiveCount"]))
    return attributes
