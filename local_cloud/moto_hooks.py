"""What is replaced in moto. Only the files moto_*.py know moto's inside.

moto 5.2.5 keeps EC2's books but runs nothing, launches MinCount instead of MaxCount, ignores client tokens, accepts
any image, and gives an instance profile to the first instance only. The hooks mend that and tell an InstanceHost what
to run. One lock lets EC2 and Auto Scaling take one request at a time: moto's books are not made for threads, and a
caller must not see a state that lasts only until the next line.
"""

import base64
import copy
import functools
import inspect
import os
import platform
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult
from moto.core.types import Base64EncodedString
from moto.ec2.exceptions import EC2ClientError, InvalidAMIIdError
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami, AmiBackend
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance, InstanceBackend, InstanceState
from moto.ec2.responses import EC2Response
from moto.ec2.responses.general import General
from moto.ec2.responses.instances import InstanceResponse

from local_cloud import ACCOUNT, CloudError
from local_cloud.images import ImageError, image_id
from local_cloud.instance_host import USER_SHUTDOWN, InstanceHost
from local_cloud.moto_record import STATE_CODES, Ec2Record, books_lock

USER_DATA_BYTES = 16384

# What is replaced: the owner, the name, and the parameters it must still have.
HOOK_POINTS: tuple[tuple[Any, str, tuple[str, ...]], ...] = (
    (EC2Response, "_dispatch", ("self", "request", "full_url", "headers")),
    (AutoScalingResponse, "_dispatch", ("self", "request", "full_url", "headers")),
    (InstanceResponse, "run_instances", ("self",)),
    (
        InstanceBackend,
        "run_instances",
        ("self", "image_id", "count", "user_data", "security_group_names", "kwargs"),
    ),
    (Instance, "__init__", ("self", "ec2_backend", "image_id", "user_data", "security_groups", "kwargs")),
    (Instance, "terminate", ("self",)),
    (Instance, "stop", ("self",)),
    (Instance, "start", ("self",)),
    (Instance, "reboot", ("self",)),
    (AmiBackend, "create_image", ("self", "instance_id", "name", "description", "tag_specifications")),
    (General, "get_console_output", ("self",)),
)

_request = threading.local()


class HookPointMoved(CloudError):
    """This version of moto is not the one that the hooks were written for; the text says what differs."""


def check_hook_points() -> None:
    """Raises HookPointMoved. Only before `Books.connect`."""
    for owner, name, expected in HOOK_POINTS:
        found = getattr(owner, name, None)
        if found is None:
            raise HookPointMoved(f"moto has no {owner.__name__}.{name} any more")
        parameters = tuple(inspect.signature(found).parameters)
        if parameters != expected:
            raise HookPointMoved(f"moto's {owner.__name__}.{name} takes {parameters} instead of {expected}")


class Books:
    """The records of all instances, and the hooks that keep them true."""

    def __init__(self, region: str) -> None:
        # moto's 1,300 made-up images can launch nothing here, and cost memory and a second of every start.
        os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
        self._backend = ec2_backends[ACCOUNT][region]
        self._region = region
        self._host: InstanceHost | None = None
        self._records: dict[str, Ec2Record] = {}
        self._tokens: dict[str, tuple[dict[str, Any], Any]] = {}

    @property
    def host(self) -> InstanceHost:
        assert self._host is not None, "Books.connect comes first"
        return self._host

    def find(self, identifier: str) -> Ec2Record | None:
        return self._records.get(identifier)

    def forget(self, identifier: str) -> None:
        """Strike an instance from the books."""
        with books_lock:
            instance = self._records.pop(identifier).moto_instance
            reservations = instance.ec2_backend.reservations
            for reservation in list(reservations.values()):
                if instance in reservation.instances:
                    reservation.instances.remove(instance)
                    if not reservation.instances:
                        del reservations[reservation.id]
            self._tokens = {token: known for token, known in self._tokens.items() if known[1].instances}

    def register_image(self, name: str) -> str:
        """Enter an image of our own; its id."""
        identifier = image_id(name)
        self._backend.amis[identifier] = Ami(
            self._backend,
            identifier,
            name=name,
            description=f"{name}, a folder on this machine",
            virtualization_type="hvm",
            hypervisor="xen",
            architecture="arm64" if platform.machine() == "aarch64" else platform.machine(),
            image_location=f"{ACCOUNT}/{name}",
            root_device_type="ebs",
            region_name=f"{self._region}a",
        )
        return identifier

    def connect(self, host: InstanceHost) -> None:
        """Put the hooks in, once in a process. Raises HookPointMoved."""
        check_hook_points()
        self._host = host
        for owner in (EC2Response, AutoScalingResponse):
            _replace(owner, "_dispatch", _one_at_a_time)
        _replace(InstanceResponse, "run_instances", self._answer_run_instances)
        _replace(InstanceBackend, "run_instances", self._run_instances)
        _replace(Instance, "__init__", _begin_pending)
        _replace(Instance, "terminate", self._terminate)
        _replace(Instance, "stop", self._stop)
        _replace(Instance, "start", self._start)
        _replace(Instance, "reboot", self._reboot)
        _replace(AmiBackend, "create_image", self._create_image)
        _replace(General, "get_console_output", self._get_console_output)

    def _answer_run_instances(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def run_instances(response: Any) -> Any:
            low, high = (int(response._get_param(name, 1)) for name in ("MinCount", "MaxCount"))
            if not 1 <= low <= high:
                raise EC2ClientError("InvalidParameterValue", f"MinCount {low} and MaxCount {high} do not fit")
            token = response._get_param("ClientToken")
            asked = {name: value for name, value in response.data.items() if name != "ClientToken"}
            if token in self._tokens:
                asked_before, reservation = self._tokens[token]
                if asked != asked_before:
                    raise EC2ClientError(
                        "IdempotentParameterMismatch", "The client token was used before with other parameters"
                    )
                return ActionResult(reservation)
            _request.count = high
            try:
                result = original(response)
            finally:
                _request.count = None
            if token:
                self._tokens[token] = (asked, result.result)
            return result

        return run_instances

    def _run_instances(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def run_instances(
            backend: Any, image_id: str, count: int, user_data: Any, security_group_names: Any, **kwargs: Any
        ) -> Any:
            with books_lock:
                template_arguments = kwargs.get("launch_template")
                template = backend._get_template_from_args(template_arguments).data if template_arguments else {}
                self._check_launch(backend, image_id or template.get("ImageId", ""), kwargs, template)
                _check_user_data(user_data or template.get("UserData"))
                count = getattr(_request, "count", None) or count
                reservation = original(backend, image_id, count, user_data, security_group_names, **kwargs)
                _assign_profile(backend, reservation.instances, kwargs, template.get("IamInstanceProfile", {}))
                for instance in reservation.instances:
                    if not kwargs.get("instance_initiated_shutdown_behavior"):
                        behaviour = template.get("InstanceInitiatedShutdownBehavior", "stop")
                        instance.instance_initiated_shutdown_behavior = behaviour
                    record = self._records[instance.id] = Ec2Record(instance)
                    self.host.launch(record, instance.image_id)
                return reservation

        return run_instances

    def _check_launch(self, backend: Any, image: str, kwargs: Mapping[str, Any], template: Mapping[str, Any]) -> None:
        if self.host.closing:
            raise EC2ClientError("Unavailable", "The local cloud is stopping")
        if self.host.images.folder(image) is None:
            if image in backend.amis:
                raise EC2ClientError("InvalidAMIID.Unavailable", f"The image id '[{image}]' is not available yet")
            raise InvalidAMIIdError(image)
        kind = kwargs.get("instance_type", "")
        if kwargs.get("is_instance_type_default"):
            kind = template.get("InstanceType", kind)
        if kind not in INSTANCE_TYPES:
            raise EC2ClientError("InvalidParameterValue", f"Invalid value '{kind}' for InstanceType.")

    def _terminate(self, _original: Callable[..., Any]) -> Callable[..., Any]:
        def terminate(instance: Any) -> Any:
            previous = copy.copy(instance._state)
            if previous.name not in ("shutting-down", "terminated"):
                self._records[instance.id].set_state("shutting-down", USER_SHUTDOWN, _user_asked())
                self._records[instance.id].release()
                self.host.terminate(instance.id)
            return previous

        return terminate

    def _stop(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def stop(instance: Any) -> Any:
            previous = copy.copy(instance._state)
            if previous.name in ("pending", "running"):
                original(instance)
                self._records[instance.id].set_state("stopping", USER_SHUTDOWN, _user_asked())
                self.host.stop(instance.id)
            elif previous.name not in ("stopping", "stopped"):
                raise _wrong_state(instance, "stopped")
            return previous

        return stop

    def _start(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def start(instance: Any) -> Any:
            previous = copy.copy(instance._state)
            if previous.name == "stopped":
                original(instance)
                self.host.start(instance.id)
            elif previous.name not in ("pending", "running"):
                raise _wrong_state(instance, "started")
            return previous

        return start

    def _reboot(self, _original: Callable[..., Any]) -> Callable[..., Any]:
        def reboot(instance: Any) -> None:
            if instance._state.name not in ("pending", "running"):
                raise _wrong_state(instance, "rebooted")
            self.host.reboot(instance.id)

        return reboot

    def _create_image(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def create_image(backend: Any, *args: Any, **kwargs: Any) -> Any:
            image = original(backend, *args, **kwargs)
            image.state = "pending"
            threading.Thread(target=self._capture, args=(image,), name=f"capture {image.id}", daemon=True).start()
            return image

        return create_image

    def _capture(self, image: Any) -> None:
        try:
            self.host.images.capture(image.id, self.host.root(image.instance_id))
        except ImageError:
            # The thread ends here; the caller learns it from the state of the image.
            traceback.print_exc(file=sys.stderr)
            image.state = "failed"
        else:
            image.state = "available"

    def _get_console_output(self, _original: Callable[..., Any]) -> Callable[..., Any]:
        def get_console_output(response: Any) -> Any:
            instance = response.ec2_backend.get_instance(response._get_param("InstanceId"))
            encoded = base64.b64encode(self.host.console(instance.id)).decode()
            output = Base64EncodedString(encoded)
            return ActionResult({"InstanceId": instance.id, "Timestamp": datetime.now(UTC), "Output": output})

        return get_console_output


def _replace(owner: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(wrap(original)))


def _one_at_a_time(original: Callable[..., Any]) -> Callable[..., Any]:
    def dispatch(*args: Any, **kwargs: Any) -> Any:
        with books_lock:
            return original(*args, **kwargs)

    return dispatch


def _begin_pending(original: Callable[..., Any]) -> Callable[..., Any]:
    def begin(instance: Any, *args: Any, **kwargs: Any) -> None:
        original(instance, *args, **kwargs)
        instance._state = InstanceState("pending", STATE_CODES["pending"])

    return begin


def _check_user_data(user_data: Base64EncodedString | None) -> None:
    if user_data is not None and len(base64.b64decode(str(user_data))) > USER_DATA_BYTES:
        raise EC2ClientError("InvalidParameterValue", f"User data is limited to {USER_DATA_BYTES} bytes")


def _assign_profile(backend: Any, instances: list[Any], kwargs: Mapping[str, Any], from_template: Any) -> None:
    """Give every instance its profile; moto does it for the first one, and for none from a template."""
    name, arn = kwargs.get("iam_instance_profile_name"), kwargs.get("iam_instance_profile_arn")
    if name or arn:
        instances = instances[1:]
    else:
        name, arn = from_template.get("Name"), from_template.get("Arn")
    if name or arn:
        for instance in instances:
            backend.associate_iam_instance_profile(
                instance_id=instance.id, iam_instance_profile_name=name, iam_instance_profile_arn=arn
            )


def _user_asked() -> str:
    return f"{USER_SHUTDOWN}: User initiated shutdown"


def _wrong_state(instance: Any, wanted: str) -> Exception:
    text = f"The instance '{instance.id}' is not in a state from which it can be {wanted}."
    error: Exception = EC2ClientError("IncorrectInstanceState", text)
    return error
