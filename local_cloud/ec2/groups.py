"""Keeps Auto Scaling groups at their desired capacity and within their bounds, also after a restart.

moto launches and terminates only when a call changes a group. Here a keeper looks at all groups every second.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto.autoscaling.exceptions import AutoscalingClientError, ValidationError
from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup, autoscaling_backends
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.exceptions import ServiceException
from moto.core.types import Base64EncodedString

from local_cloud import ACCOUNT, points
from local_cloud.ec2.record import books_lock

LOOK_SECONDS = 1.0
ALIVE = ("pending", "running")


_current = threading.local()


def repeating() -> bool:
    """Whether calls of an earlier run are being repeated. Meanwhile groups launch nothing."""
    return getattr(_current, "repeating", False)


@contextmanager
def repetition() -> Iterator[None]:
    """Within this context groups launch nothing."""
    _current.repeating = True
    try:
        yield
    finally:
        _current.repeating = False


def template_version() -> str | None:
    """The launch template version of the group that launches now. moto itself always takes the default."""
    return getattr(_current, "template_version", None)


def desired_capacities(region: str) -> dict[str, int]:
    """The desired capacity of each group, by name. The caller holds books_lock."""
    groups = autoscaling_backends[ACCOUNT][region].autoscaling_groups
    return {name: group.desired_capacity or 0 for name, group in groups.items()}


def connect() -> None:
    """Put the hooks in."""
    points.replace(FakeAutoScalingGroup, "set_desired_capacity", _within_bounds)
    points.replace(FakeAutoScalingGroup, "replace_autoscaling_group_instances", _with_its_version)
    points.replace(AutoScalingBackend, "delete_auto_scaling_group", _with_all_its_instances)
    points.replace(AutoScalingBackend, "notify_terminate_instances", _left_to_the_keeper)
    points.replace(AutoScalingBackend, "terminate_instance", _known_instances_only)
    points.replace(AutoScalingResponse, "delete_auto_scaling_group", _only_when_empty)


class GroupKeeper:
    """Replaces dead and unhealthy members of the groups of a region."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._stopped = threading.Event()
        self._last_words: dict[str, str] = {}

    def start(self) -> None:
        threading.Thread(target=self._run, name="groups", daemon=True).start()

    def stop(self) -> None:
        """Stop replacing members."""
        self._stopped.set()

    def _run(self) -> None:
        backend = autoscaling_backends[ACCOUNT][self._region]
        while not self._stopped.wait(LOOK_SECONDS):
            for name, group in list(backend.autoscaling_groups.items()):
                with books_lock:
                    if self._stopped.is_set() or name not in backend.autoscaling_groups:
                        continue
                    self._keep(group)

    def _keep(self, group: Any) -> None:
        """Bring a group to its desired capacity. A failed launch is printed once and tried again."""
        if not _suspended(group) & {"HealthCheck", "ReplaceUnhealthy", "Terminate"}:
            _remove_the_dead(group)
        missing = (group.desired_capacity or 0) - len(group.active_instances())
        if missing <= 0:
            return
        try:
            group.replace_autoscaling_group_instances(missing, group.get_propagated_tags())
        except ServiceException as error:
            if self._last_words.get(group.name) != str(error):
                self._last_words[group.name] = str(error)
                print(f"local cloud: group {group.name} cannot launch {missing}: {error}", file=sys.stderr)
        else:
            self._last_words.pop(group.name, None)


def _suspended(group: Any) -> set[str]:
    return {process["ProcessName"] for process in group.suspended_processes}


def _remove_the_dead(group: Any) -> None:
    dead = [state for state in group.instance_states if _is_dead(state)]
    if not dead:
        return
    group.instance_states = [state for state in group.instance_states if state not in dead]
    for state in dead:
        # A member's protection holds against users, not against its group.
        state.instance.terminate()


def _is_dead(state: Any) -> bool:
    # The owner of an instance in standby looks after it.
    gone: bool = state.instance._state.name not in ALIVE and state.lifecycle_state != "Standby"
    return gone or bool(state.health_status == "Unhealthy")


def _within_bounds(original: points.Function) -> points.Function:
    def set_desired_capacity(group: Any, new_capacity: int | None) -> None:
        wanted = group.min_size if new_capacity is None else new_capacity
        deleting = getattr(_current, "deleting", None) is group
        if not deleting and not group.min_size <= wanted <= group.max_size:
            low = wanted < group.min_size
            bound = f"below min value {group.min_size}" if low else f"above max value {group.max_size}"
            raise ValidationError(f"New SetDesiredCapacity value {wanted} is {bound} for the AutoScalingGroup.")
        original(group, new_capacity)

    return set_desired_capacity


def _with_its_version(original: points.Function) -> points.Function:
    def replace(group: Any, count_needed: int, propagated_tags: dict[str, str]) -> None:
        if "Launch" in _suspended(group):
            return
        _current.template_version = getattr(group, "launch_template_version", None)
        _mend_user_data(group)
        try:
            original(group, count_needed, propagated_tags)
        finally:
            _current.template_version = None

    return replace


def _mend_user_data(group: Any) -> None:
    """moto reads the user data of a template's first version only; with those of a later one it launches nothing."""
    if template := group.ec2_launch_template:
        data = template.get_version(group.launch_template_version).data
        if isinstance(data.get("UserData"), str):
            data["UserData"] = Base64EncodedString(data["UserData"])


def _with_all_its_instances(original: points.Function) -> points.Function:
    def delete_auto_scaling_group(backend: Any, group_name: str) -> None:
        group = backend.autoscaling_groups.get(group_name)
        for state in group.instance_states if group else ():
            state.protected_from_scale_in = False
        _current.deleting = group
        try:
            original(backend, group_name)
        finally:
            _current.deleting = None

    return delete_auto_scaling_group


def _only_when_empty(original: points.Function) -> points.Function:
    def delete_auto_scaling_group(response: Any) -> Any:
        group = response.autoscaling_backend.autoscaling_groups.get(response._get_param("AutoScalingGroupName"))
        if group and group.instance_states and not response._get_bool_param("ForceDelete", False):
            raise AutoscalingClientError(
                "ResourceInUse",
                "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) "
                "still in the group.",
            )
        return original(response)

    return delete_auto_scaling_group


def _left_to_the_keeper(_original: points.Function) -> points.Function:
    def notify_terminate_instances(_backend: Any, _instance_ids: list[str]) -> None:
        """A member terminated by hand is replaced when the keeper next looks, unless replacing is suspended."""

    return notify_terminate_instances


def _known_instances_only(original: points.Function) -> points.Function:
    def terminate_instance(backend: Any, instance_id: str, should_decrement: bool) -> Any:
        group = next(
            (
                group
                for group in backend.autoscaling_groups.values()
                if any(state.instance.id == instance_id for state in group.instance_states)
            ),
            None,
        )
        if group is None:
            raise ValidationError(f"Instance Id not found - No managed instance found for instance ID: {instance_id}")
        if should_decrement and group.desired_capacity - 1 < group.min_size:
            raise ValidationError(
                f"Currently, desiredSize equals minSize ({group.min_size}). Terminating instance without replacement "
                "will violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false or "
                "lower group's min size."
            )
        return original(backend, instance_id, should_decrement)

    return terminate_instance
