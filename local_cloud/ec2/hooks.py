"""Replaces functions of moto. Only this folder knows moto's inside.

moto 5.2.5 keeps EC2's books but runs nothing, launches MinCount instead of MaxCount, ignores client tokens, accepts
any image, and gives an instance profile to the first instance only. The hooks mend that and tell an InstanceHost what
to run. One lock lets moto handle one request at a time (journal.py): its books are not safe for threads, and a caller
must not see a half-finished change.
"""

import base64
import copy
import os
import platform
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from moto.core.responses import ActionResult
from moto.core.types import Base64EncodedString
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami
from moto.ec2.models.instances import Instance, InstanceBackend, InstanceState, Reservation
from moto.ec2.responses.general import General
from moto.ec2.responses.instances import InstanceResponse

from local_cloud import ACCOUNT, points
from local_cloud.ec2 import answers, attributes, groups, images, launch, seeded_ids
from local_cloud.ec2.launch import Capacity, LaunchRequest
from local_cloud.ec2.record import STATE_CODES, Ec2Record, LaunchDetails, books_lock
from local_cloud.ec2.records_file import RecordsFile
from local_cloud.machines.images import image_id
from local_cloud.machines.instance_host import USER_SHUTDOWN, InstanceHost

# The ids of the default VPC and its subnets follow from it: scripts and templates may hold them.
FIRST_SEED = 1


_request = threading.local()


def _asked() -> LaunchRequest:
    return getattr(_request, "asked", None) or LaunchRequest()


class Books:
    """The records of all instances, and the hooks that keep them true."""

    def __init__(self, region: str, changed: Callable[[], None]) -> None:
        """`changed` is called after every change of an instance's state, perhaps with that instance's lock held."""
        # moto's 1,300 invented images cannot be launched here; they cost memory and a second of every start.
        os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
        with seeded_ids.ids_of(FIRST_SEED):
            self.backend = ec2_backends[ACCOUNT][region]
        self._region = region
        self._changed = changed
        self._host: InstanceHost | None = None
        self.records: dict[str, Ec2Record] = {}
        self._tokens: dict[str, tuple[Any, Any]] = {}
        self.capacity: Capacity | None = None
        """Limits what can be launched; None means no limit."""

    @property
    def host(self) -> InstanceHost:
        assert self._host is not None, "Books.connect comes first"
        return self._host

    def find(self, identifier: str) -> Ec2Record | None:
        return self.records.get(identifier)

    def forget(self, identifier: str) -> None:
        """Remove an instance from the books."""
        with books_lock:
            instance = self.records.pop(identifier).moto_instance
            reservations = instance.ec2_backend.reservations
            for reservation in list(reservations.values()):
                if instance in reservation.instances:
                    reservation.instances.remove(instance)
                    if not reservation.instances:
                        del reservations[reservation.id]
            self._tokens = {token: known for token, known in self._tokens.items() if known[1].instances}

    def register_image(self, name: str) -> str:
        """Add an image of this cloud and return its id."""
        identifier = image_id(name)
        self.backend.amis[identifier] = Ami(
            self.backend,
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

    def connect(self, host: InstanceHost, save: Callable[[], None]) -> None:
        """Replace moto's functions, once in a process. `save` writes the books down."""
        self._host = host
        points.replace(InstanceResponse, "run_instances", self._answer_run_instances)
        points.replace(InstanceBackend, "run_instances", self._run_instances)
        points.replace(Instance, "__init__", _begin_pending)
        points.replace(Instance, "terminate", self._terminate)
        points.replace(Instance, "stop", self._stop)
        points.replace(Instance, "start", self._start)
        points.replace(Instance, "reboot", self._reboot)
        points.replace(General, "get_console_output", self._get_console_output)
        answers.connect()
        attributes.connect()
        images.connect(host, save)
        groups.connect()

    def restore(self, file: RecordsFile) -> list[str]:
        """Restore the instances of an earlier run. Returns a line for each failure."""
        with books_lock:
            return file.restore(self.backend, self._enter_restored)

    def _enter_restored(self, instance: Any, launch: LaunchDetails) -> Ec2Record:
        record = self.records[instance.id] = Ec2Record(instance, launch, self._changed)
        if launch.token:
            self._tokens[launch.token] = (launch.asked, record.reservation())
        return record

    def _answer_run_instances(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def run_instances(response: Any) -> Any:
            low, high = (int(response._get_param(name, 1)) for name in ("MinCount", "MaxCount"))
            if not 1 <= low <= high:
                raise EC2ClientError("InvalidParameterValue", f"MinCount {low} and MaxCount {high} do not fit")
            token = response._get_param("ClientToken")
            parameters = repr(sorted((name, value) for name, value in response.data.items() if name != "ClientToken"))
            if token in self._tokens:
                parameters_before, reservation = self._tokens[token]
                if parameters != parameters_before:
                    raise EC2ClientError(
                        "IdempotentParameterMismatch", "The client token was used before with other parameters"
                    )
                return ActionResult(reservation)
            _request.asked = LaunchRequest(
                low,
                high,
                token,
                parameters,
                protected=bool(response._get_param("DisableApiTermination")),
                market=response._get_param("InstanceMarketOptions"),
            )
            try:
                result = original(response)
            finally:
                _request.asked = None
            if token:
                self._tokens[token] = (parameters, result.result)
            return result

        return run_instances

    def _run_instances(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def run_instances(
            backend: Any, image_id: str, count: int, user_data: Any, security_group_names: Any, **kwargs: Any
        ) -> Any:
            if groups.repeating():
                # A group that is restored launches later, when everything else is restored.
                return Reservation("r-0")
            with books_lock:
                asked = _asked()
                template = launch.template_data(backend, kwargs)
                image = image_id or template.get("ImageId", "")
                launch.check(self.host, backend, image, user_data, kwargs, template)
                remembered = launch.what_to_remember(asked, kwargs, template)
                zone = kwargs.get("placement") or f"{self._region}a"
                least, most = asked.least or count, asked.most or count
                count = launch.granted(self.capacity, least, most, zone, kwargs, template)
                if not kwargs.get("metadata_options"):
                    kwargs["metadata_options"] = template.get("MetadataOptions", {})
                reservation = original(backend, image_id, count, user_data, security_group_names, **kwargs)
                launch.assign_profile(backend, reservation.instances, kwargs, template.get("IamInstanceProfile", {}))
                for instance in reservation.instances:
                    launch.complete(instance, kwargs, template, asked, remembered)
                    record = self.records[instance.id] = Ec2Record(instance, remembered, self._changed)
                    self.host.launch(record, instance.image_id)
                return reservation

        return run_instances

    def _terminate(self, _original: Callable[..., Any]) -> Callable[..., Any]:
        def terminate(instance: Any) -> Any:
            previous = copy.copy(instance._state)
            if previous.name not in ("shutting-down", "terminated"):
                self.records[instance.id].set_state("shutting-down", USER_SHUTDOWN, _user_asked())
                self.records[instance.id].release()
                self.host.terminate(instance.id)
            return previous

        return terminate

    def _stop(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def stop(instance: Any) -> Any:
            previous = copy.copy(instance._state)
            if previous.name in ("pending", "running"):
                original(instance)
                self.records[instance.id].set_state("stopping", USER_SHUTDOWN, _user_asked())
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

    def _get_console_output(self, _original: Callable[..., Any]) -> Callable[..., Any]:
        def get_console_output(response: Any) -> Any:
            instance = response.ec2_backend.get_instance(response._get_param("InstanceId"))
            encoded = base64.b64encode(self.host.console(instance.id)).decode()
            output = Base64EncodedString(encoded)
            return ActionResult({"InstanceId": instance.id, "Timestamp": datetime.now(UTC), "Output": output})

        return get_console_output


def _begin_pending(original: Callable[..., Any]) -> Callable[..., Any]:
    def begin(instance: Any, *args: Any, **kwargs: Any) -> None:
        # The seed is written down: at the next start it gives the instance, its interfaces and volumes the same ids.
        instance.seed = kwargs.pop("seed", None) or seeded_ids.new_seed()
        seeded_ids.begin(instance.seed)
        original(instance, *args, **kwargs)
        instance._state = InstanceState("pending", STATE_CODES["pending"])

    return begin


def _user_asked() -> str:
    return f"{USER_SHUTDOWN}: User initiated shutdown"


def _wrong_state(instance: Any, wanted: str) -> Exception:
    text = f"The instance '{instance.id}' is not in a state from which it can be {wanted}."
    error: Exception = EC2ClientError("IncorrectInstanceState", text)
    return error
