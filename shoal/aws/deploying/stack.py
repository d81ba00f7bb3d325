"""One CloudFormation stack: changed by change sets, followed by its events, rolled back, deleted."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shoal.aws.clients import client, our_errors
from shoal.deployment.reasons import explained
from shoal.errors import Permanent, Retryable, ShoalError
from shoal.retry import patiently

FOLLOW_SECONDS = 3600.0
PATIENCE_SECONDS = 120.0
CAPABILITIES = ["CAPABILITY_NAMED_IAM"]
NO_CHANGES = ("didn't contain changes", "No updates are to be performed")
# A first creation that was undone: nothing can be done with the stack but to delete it.
UNDONE = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED")
HALF_DONE = ("CREATE_FAILED", "UPDATE_FAILED")
EMPTY = ("", "REVIEW_IN_PROGRESS")

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StackState:
    """status: as CloudFormation says it, empty when there is no stack.  reason: why, where it says so."""

    status: str
    reason: str = ""
    outputs: Mapping[str, str] | None = None
    parameters: Mapping[str, str] | None = None

    @property
    def moves(self) -> bool:
        """Whether something is being done to it now."""
        return self.status.endswith("_IN_PROGRESS") and self.status != "REVIEW_IN_PROGRESS"


@dataclass(frozen=True, slots=True)
class Change:
    """What a change set would do to one resource. action: Add, Modify, Remove; replaced: whether a new one is made."""

    action: str
    name: str
    kind: str
    replaced: bool


class DeploymentStack:
    """The stack of a deployment. tell: is given a line for each event. pause_seconds: between two looks."""

    def __init__(self, name: str, tell: Tell, pause_seconds: float = 2.0) -> None:
        self.name = name
        self._tell = tell
        self._pause = pause_seconds
        self._told: set[str] = set()
        self._failures: list[str] = []

    def state(self) -> StackState:
        """What CloudFormation says of it now."""
        try:
            [stack] = self._call("describe_stacks", StackName=self.name)["Stacks"]
        except Permanent as error:
            if "does not exist" in str(error):
                return StackState("")
            raise
        if stack["StackStatus"] == "DELETE_COMPLETE":
            return StackState("")
        return StackState(
            stack["StackStatus"],
            str(stack.get("StackStatusReason") or ""),
            {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs") or ()},
            {one["ParameterKey"]: one.get("ParameterValue", "") for one in stack.get("Parameters") or ()},
        )

    def ready(self) -> StackState:
        """Bring the stack to a state that a change set can begin with, whatever was interrupted before.

        What is being done is followed to its end. A first creation that was undone is cleared away.
        """
        state = self.state()
        if state.moves:
            self._tell(f"an earlier change is not at its end ({state.status}): following it")
            state = self.follow()
        if state.status in UNDONE:
            self._tell(f"an earlier creation was undone ({state.status}): clearing it away")
            self.delete()
            return self.state()
        if state.status == "UPDATE_ROLLBACK_FAILED":
            self._tell("an earlier roll-back stopped: continuing it")
            self._call("continue_update_rollback", StackName=self.name)
            state = self.follow()
        return state

    def change_set(
        self, text: str, parameters: Mapping[str, str], tags: Mapping[str, str], imports: bool = False
    ) -> str | None:
        """Make a change set; returns its name, or None when nothing would change.

        imports: take in buckets and tables that an earlier stack of this name left. Raises Permanent and Retryable.
        """
        is_new = self.state().status in EMPTY
        name = f"shoal-{uuid.uuid4().hex}"
        # The check of names before a change may take what is taken in for somebody else's.
        options: dict[str, Any] = {"ImportExistingResources": True, "DisableValidation": True} if imports else {}
        self._call(
            "create_change_set",
            StackName=self.name,
            ChangeSetName=name,
            ChangeSetType="CREATE" if is_new else "UPDATE",
            TemplateBody=text,
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
            Capabilities=CAPABILITIES,
            **options,
        )
        made = self._described(name)
        if made["Status"] != "FAILED":
            return name
        self.discard(name)
        reason = str(made.get("StatusReason", ""))
        if any(words in reason for words in NO_CHANGES):
            return None
        raise Permanent(f"stack {self.name}: {explained(reason)}")

    def _described(self, change_set: str) -> dict[str, Any]:
        def look() -> dict[str, Any]:
            found = self._call("describe_change_set", StackName=self.name, ChangeSetName=change_set)
            if found["Status"] in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
                raise Retryable(f"change set {change_set} is still being made")
            return found

        return patiently(look, PATIENCE_SECONDS, self._wait)

    def changes(self, change_set: str) -> Iterator[Change]:
        """What the change set would do."""
        more: dict[str, str] = {}
        while True:
            page = self._call("describe_change_set", StackName=self.name, ChangeSetName=change_set, **more)
            for one in page.get("Changes", ()):
                change = one["ResourceChange"]
                replaced = change.get("Replacement") == "True"
                yield Change(change["Action"], change["LogicalResourceId"], change["ResourceType"], replaced)
            if not page.get("NextToken"):
                return
            more = {"NextToken": page["NextToken"]}

    def discard(self, change_set: str) -> None:
        """Delete a change set, and the empty stack that it was the first of."""
        self._call("delete_change_set", StackName=self.name, ChangeSetName=change_set)
        if self.state().status == "REVIEW_IN_PROGRESS":
            self._call("delete_stack", StackName=self.name)

    def execute(self, change_set: str, keeps_what_is_done: bool = True) -> StackState:
        """Do it, and follow it to its end. Raises Permanent with the causes when it failed.

        keeps_what_is_done: a failure leaves what was made, so that the next try goes on from there.
        """
        self._hear_what_was()
        options = {"DisableRollback": True} if keeps_what_is_done else {}
        self._call("execute_change_set", StackName=self.name, ChangeSetName=change_set, **options)
        state = self.follow()
        if state.status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"):
            raise Permanent(self._causes(state))
        return state

    def _causes(self, state: StackState) -> str:
        causes = self._failures or self._validation() or ([state.reason] if state.reason else [])
        told = "; ".join(dict.fromkeys(map(explained, causes))) or "CloudFormation names no cause"
        return f"stack {self.name} is {state.status}: {told}"

    def _validation(self) -> list[str]:
        """What CloudFormation found wrong before it made anything. It is no event of a resource."""
        try:
            events = self._call("describe_events", StackName=self.name)["OperationEvents"]
        except ShoalError:
            return []
        failed = (one for one in events if one.get("ValidationStatus") == "FAILED")
        return [f"{one['LogicalResourceId']}: {one.get('ValidationStatusReason', '')}" for one in failed]

    def roll_back(self) -> StackState:
        """Undo the last change that failed or still runs, and follow that to its end. Raises Permanent."""
        self._hear_what_was()
        state = self.state()
        if state.status == "UPDATE_IN_PROGRESS":
            self._call("cancel_update_stack", StackName=self.name)
        elif state.status in HALF_DONE:
            self._call("rollback_stack", StackName=self.name)
        elif state.status == "CREATE_IN_PROGRESS":
            self._call("delete_stack", StackName=self.name)
        elif state.status not in ("", "REVIEW_IN_PROGRESS"):
            raise Permanent(f"stack {self.name} is {state.status or 'not there'}: there is nothing to roll back")
        state = self.follow()
        return self.ready() if state.status in UNDONE else state

    def delete(self) -> None:
        """Delete the stack and follow that to its end; no error when there is none. Raises Permanent."""
        for attempt in (1, 2):
            self._hear_what_was()
            state = self.state()
            if not state.status:
                return
            self._call("delete_stack", StackName=self.name)
            state = self.follow()
            if not state.status:
                return
            if attempt == 1 and state.status == "DELETE_FAILED":
                self._tell("some of it could not be deleted: trying once more")
        raise Permanent(self._causes(state))

    def follow(self) -> StackState:
        """Tell each event until nothing is being done any more; returns the state then. Raises Retryable."""
        deadline = time.monotonic() + FOLLOW_SECONDS
        while time.monotonic() < deadline:
            state = patiently(self.state, PATIENCE_SECONDS, self._wait)
            if state.status:
                self._tell_events()
            if not state.moves:
                return state
            self._wait()
        raise Retryable(f"stack {self.name} is not at its end after an hour: run the same command again")

    def _hear_what_was(self) -> None:
        """Take the events until now as told."""
        self._failures = []
        if self.state().status:
            self._told |= {event["EventId"] for event in self._events()}

    def _tell_events(self) -> None:
        try:
            events = [event for event in self._events() if event["EventId"] not in self._told]
        except ShoalError:
            return  # the next look tells them
        for event in reversed(events):
            self._told.add(event["EventId"])
            status, reason = event["ResourceStatus"], event.get("ResourceStatusReason") or ""
            name = event["LogicalResourceId"]
            if status.endswith("_FAILED") and "cancelled" not in reason and name != self.name:
                self._failures.append(f"{name}: {reason}")
            self._tell(f"{status:<28} {name}  {reason}".rstrip())

    def _events(self) -> Iterator[dict[str, Any]]:
        more: dict[str, str] = {}
        while True:
            page = self._call("describe_stack_events", StackName=self.name, **more)
            for event in page["StackEvents"]:
                if event["EventId"] in self._told:
                    return  # the newest come first
                yield event
            if not page.get("NextToken"):
                return
            more = {"NextToken": page["NextToken"]}

    def _call(self, action: str, **members: Any) -> dict[str, Any]:
        with our_errors(f"{action.replace('_', ' ')} {self.name}"):
            answer: dict[str, Any] = getattr(client("cloudformation"), action)(**members)
        return answer

    def _wait(self) -> None:
        time.sleep(self._pause)
