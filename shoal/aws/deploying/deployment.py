"""Makes and changes a deployment: the account is looked at, the stack changed, the program and the password put."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shoal.aws import ec2
from shoal.aws.clients import client, our_errors, use
from shoal.aws.deploying import account
from shoal.aws.deploying.stack import EMPTY, UNDONE, Change, DeploymentStack, StackState, Tell
from shoal.aws.iam import AUTO_SCALING, SPOT, allow_service
from shoal.deployment import code_package, template_file
from shoal.deployment.choices import Choices, function_settings, parameters
from shoal.errors import NotFound
from shoal.settings import Settings

TAG = ec2.TAG
PASSWORD_BYTES = 18


@dataclass(frozen=True, slots=True)
class Intention:
    """What a deployment would do.

    changes:  to the resources; empty for a first one, which makes all of `made`.
    made:     the resources that there will be: names in the template, and types.
    """

    who: str
    is_new: bool
    changes: Sequence[Change]
    made: Mapping[str, str]
    has_worker_image: bool


@dataclass(frozen=True, slots=True)
class Deployed:
    """A finished deployment.

    password:         of the page; is_new: whether the stack did not have it before.
    changed:          whether the stack was changed.
    has_worker_image: whether workers can start.
    """

    outputs: Mapping[str, str] = field(default_factory=dict)
    password: str = ""
    is_new: bool = False
    changed: bool = True
    has_worker_image: bool = False

    @property
    def page(self) -> str:
        """The page's address; empty without a page."""
        return self.outputs.get("Page", "")


class Deployment:
    """A deployment of these settings and choices. Every method may raise Permanent and Retryable."""

    def __init__(self, settings: Settings, choices: Choices, tell: Tell, pause_seconds: float = 2.0) -> None:
        choices.check()
        use(settings.cloud)
        self._settings = settings
        self._choices = choices
        self._tell = tell
        self._template = template_file.read()
        self._stack = DeploymentStack(settings.prefix, tell, pause_seconds)

    def plan(self) -> Intention:
        """Look what a deployment would do. Leaves nothing behind."""
        who = account.caller()
        state = self._stack.state()
        is_new = state.status in EMPTY or state.status in UNDONE
        values, has_image = self._values(state, self._program()[0])
        changes: Sequence[Change] = ()
        if state.status and not state.moves and not is_new:
            name = self._stack.change_set(self._text(), values, self._tags())
            if name:
                changes = list(self._stack.changes(name))
                self._stack.discard(name)
        return Intention(who, is_new, changes, self._template.made(values), has_image)

    def deploy(self, new_password: bool = False) -> Deployed:
        """Make or change everything. Can be called again after any interruption: it goes on from there."""
        account.caller()
        state = self._stack.ready()
        key, body = self._program()
        values, has_image = self._values(state, key)
        password, is_new = "", False
        if self._choices.page:
            password, version = self._keep_password(new_password)
            is_new = state.status in EMPTY or version != (state.parameters or {}).get("PasswordVersion")
            values["PasswordVersion"] = version
            if is_new:
                # Before anything can fail: CloudFormation may go on without this command.
                self._tell(f"{'PASSWORD':<28} {password}  (of operator, when the stack is complete)")
        left = self._left_of_an_earlier_one(state)
        text = self._text()
        name = self._stack.change_set(text, values, self._tags(), imports=left)
        if name:
            # What is taken in must not be undone: CloudFormation would leave it, and leave the stack.
            state = self._stack.execute(name, keeps_what_is_done=not left)
        if self._choices.page:
            self._put_code(key, body)
        self._allow_services()
        return Deployed(state.outputs or {}, password, is_new, name is not None, has_image)

    def roll_back(self) -> StackState:
        """Undo the last change that failed or still runs."""
        account.caller()
        return self._stack.roll_back()

    def _values(self, state: StackState, code: str) -> tuple[dict[str, str], bool]:
        found = account.survey(self._settings, self._choices, code, dict(state.parameters or {}))
        return parameters(self._template, self._settings, self._choices, found), bool(found.worker_image)

    def _program(self) -> tuple[str, bytes]:
        """The program of the page's instance: its key and itself; empty without a page."""
        return code_package.pack() if self._choices.page else ("", b"")

    def _text(self) -> str:
        return self._template.text_for(self._settings.prefix, function_settings(self._settings))

    def _tags(self) -> dict[str, str]:
        return {TAG: self._settings.prefix}

    def _left_of_an_earlier_one(self, state: StackState) -> bool:
        """Whether buckets are there that a destroyed deployment has left."""
        if state.status and state.status != "REVIEW_IN_PROGRESS":
            return False
        return account.bucket_exists(self._settings.in_bucket) or account.bucket_exists(self._settings.out_bucket)

    def _keep_password(self, new: bool) -> tuple[str, str]:
        """The page's password and its version; makes it where it is missing, or a new one is wanted.

        It is a secret parameter, which only the page's instance and the account's own people may read.
        """
        name = password_name(self._settings)
        ssm = client("ssm")
        try:
            with our_errors(f"password {name}"):
                known = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]
                if not new:
                    return str(known["Value"]), str(known["Version"])
        except NotFound:
            pass
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        with our_errors(f"password {name}"):
            put = ssm.put_parameter(Name=name, Value=password, Type="SecureString", Overwrite=True)
            ssm.add_tags_to_resource(
                ResourceType="Parameter", ResourceId=name, Tags=[{"Key": TAG, "Value": self._settings.prefix}]
            )
        return password, str(put["Version"])

    def _allow_services(self) -> None:
        """Make AWS' own roles for spot instances and groups, which an account gets at its first use of them."""
        if self._settings.spot_share > 0:
            allow_service(client("iam"), SPOT)
        if self._settings.actuator == "autoscaling":
            allow_service(client("iam"), AUTO_SCALING)

    def _put_code(self, key: str, body: bytes) -> None:
        bucket = account.code_bucket(self._settings)
        s3 = client("s3")
        try:
            with our_errors(f"program {key}"):
                s3.head_object(Bucket=bucket, Key=key)
        except NotFound:
            with our_errors(f"put program {key}"):
                s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/gzip")
            self._tell(f"{'PUT':<28} the program, {len(body) / 1e6:.1f} MB, to {bucket}")


def last_options(settings: Settings) -> str:
    """What the last `deploy` was told, as `Choices.text` wrote it; empty where there is no stack.

    Raises Permanent and Retryable.
    """
    use(settings.cloud)
    account.caller()
    state = DeploymentStack(settings.prefix, lambda _: None).state()
    return (state.parameters or {}).get("Options", "")


def password_name(settings: Settings) -> str:
    """The name of the parameter with the page's password."""
    return f"/{settings.prefix}/password"
