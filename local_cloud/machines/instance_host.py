"""All instances of this machine: launching them, watching them, forgetting them."""

import shutil
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from local_cloud.machines.cron import CronClock, Schedule
from local_cloud.machines.images import ImageStore
from local_cloud.machines.instance import Ending, InstanceRecord, InstanceRunner, Surroundings
from local_cloud.machines.memory_watch import MemoryWatch

USER_SHUTDOWN = "Client.UserInitiatedShutdown"
# The StateReason, by the state after the end of the host.
HOST_ENDINGS = {
    "stopped": ("Server.ScheduledStop", "Server.ScheduledStop: Stopped due to a scheduled retirement"),
    "terminated": ("Server.InternalError", "Server.InternalError: the host of the instance has ended"),
}
# The action in the notice and the StateReason, by the state after an interruption.
INTERRUPTIONS = {
    "terminated": ("terminate", "Server.SpotInstanceTermination", "Spot instance termination"),
    "stopped": ("stop", "Server.SpotInstanceShutdown", "Spot instance shutdown"),
}
SPOT_NOTICE_SECONDS = 120.0
WATCH_SECONDS = 1.0
IDLE_SECONDS = 30.0
CLOSE_GRACE_SECONDS = 5.0


class InstanceHost:
    """Turns launches into process trees.

    It knows the cloud's books only as an InstanceRecord for each instance. All methods return at once and may be called
    from any thread.
    """

    def __init__(
        self,
        folder: Path,
        images: ImageStore,
        surroundings: Surroundings,
        *,
        forget: Callable[[str], None],
        cron_seconds: float = 60.0,
        forget_seconds: float = 3600.0,
        make: Callable[
            [InstanceRecord, Path, Path, Surroundings, Callable[[str], None]], InstanceRunner
        ] = InstanceRunner,
    ) -> None:
        """`forget` is called with the id of an instance that was terminated `forget_seconds` ago."""
        self.images = images
        self._folder = folder
        self._surroundings = surroundings
        self._forget = forget
        self._make = make
        self._forget_seconds = forget_seconds
        self._lock = threading.Lock()
        self._instances: dict[str, InstanceRunner] = {}
        self._changed = threading.Event()
        self._closed = threading.Event()
        self._clock = CronClock(self._run_cron, cron_seconds)
        self._memory = MemoryWatch(surroundings.limiter)

    def open(self) -> None:
        """Start the threads that watch memory and run cron jobs."""
        threading.Thread(target=self._watch, name="memory watch", daemon=True).start()
        threading.Thread(target=self._clock.run, name="cron", daemon=True).start()

    def close(self) -> None:
        """End all instances, kill the processes left after five seconds, and wait for that."""
        self._closed.set()
        self._changed.set()
        self._clock.stop()
        instances = self._all()
        for instance in instances:
            state = instance.record.end_state_with_host
            instance.end(Ending(state, *HOST_ENDINGS[state], CLOSE_GRACE_SECONDS))
            instance.hasten(CLOSE_GRACE_SECONDS)
        deadline = time.monotonic() + CLOSE_GRACE_SECONDS + 5.0
        for instance in instances:
            instance.join(max(0.0, deadline - time.monotonic()))

    @property
    def closing(self) -> bool:
        return self._closed.is_set()

    def launch(self, record: InstanceRecord, image_id: str) -> None:
        """Boot a new instance. The image must be known (`images.folder`)."""
        image = self.images.folder(image_id)
        if image is None:
            raise LookupError(f"no image {image_id}")
        folder = self._folder / record.id
        folder.mkdir()
        self._enter(record, image, folder).start()
        self._changed.set()

    def adopt(self, record: InstanceRecord, image_id: str, terminated_seconds_ago: float | None) -> None:
        """Take over an instance of an earlier run. It has no processes: it is stopped, or was terminated."""
        folder = self._folder / record.id
        image = self.images.folder(image_id)
        # A stopped instance has its root already, so its image may be gone.
        self._enter(record, image or folder, folder).lie_down(terminated_seconds_ago)

    def _enter(self, record: InstanceRecord, image: Path, folder: Path) -> InstanceRunner:
        instance = self._make(record, image, folder, self._surroundings, lambda _: self._changed.set())
        with self._lock:
            self._instances[record.id] = instance
        return instance

    def terminate(self, identifier: str) -> None:
        self._end(identifier, "terminated")

    def stop(self, identifier: str) -> None:
        self._end(identifier, "stopped")

    def start(self, identifier: str) -> None:
        """Boot a stopped instance again, with the files in its folder."""
        self._instance(identifier).start()
        self._changed.set()

    def reboot(self, identifier: str) -> None:
        self._instance(identifier).reboot()

    def interrupt(self, identifier: str, state: str, notice_seconds: float = SPOT_NOTICE_SECONDS) -> None:
        """Give a spot instance notice, and end it after `notice_seconds`. Its metadata shows the notice at once.

        state: its final state, `terminated` or `stopped`.
        """
        instance = self._instance(identifier)
        action, code, words = INTERRUPTIONS[state]
        at = f"{datetime.now(UTC) + timedelta(seconds=notice_seconds):%Y-%m-%dT%H:%M:%SZ}"
        instance.record.announce("spot/instance-action", {"action": action, "time": at})
        ending = Ending(state, code, f"{code}: {words}", self._surroundings.grace_seconds)
        timer = threading.Timer(notice_seconds, instance.end, [ending])
        timer.daemon = True
        timer.start()

    def recommend_rebalance(self, identifier: str) -> None:
        """Recommend rebalancing: the instance is likely to be interrupted."""
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        self._instance(identifier).record.announce("events/recommendations/rebalance", {"noticeTime": now})

    def console(self, identifier: str) -> bytes:
        return self._instance(identifier).guest.console_tail()

    def capture(self, identifier: str, image_id: str) -> None:
        """Make the image `image_id` of an instance's files. Takes as long as copying them. Raises ImageError."""
        self._instance(identifier).capture(self.images, image_id)

    def _end(self, identifier: str, state: str) -> None:
        message = f"{USER_SHUTDOWN}: User initiated shutdown"
        self._instance(identifier).end(Ending(state, USER_SHUTDOWN, message, self._surroundings.grace_seconds))

    def _instance(self, identifier: str) -> InstanceRunner:
        with self._lock:
            return self._instances[identifier]

    def _all(self) -> list[InstanceRunner]:
        with self._lock:
            return list(self._instances.values())

    def _run_cron(self, minute: datetime) -> None:
        def is_due(schedule: Schedule) -> bool:
            return schedule.is_due(minute)

        for instance in self._all():
            instance.run_due(is_due)

    def _watch(self) -> None:
        while not self._closed.is_set():
            self._changed.clear()
            running = [instance for instance in self._all() if instance.init_pid is not None]
            if running:
                self._memory.look(running)
                for instance in running:
                    instance.guest.trim_console()
            self._forget_the_dead()
            if self._all_quiet():
                self._changed.wait(IDLE_SECONDS)
            else:
                self._closed.wait(WATCH_SECONDS)

    def _all_quiet(self) -> bool:
        return all(instance.ended_at is not None for instance in self._all()) and self._forget_seconds > IDLE_SECONDS

    def _forget_the_dead(self) -> None:
        before = time.monotonic() - self._forget_seconds
        for instance in self._all():
            if instance.ended_at is not None and instance.ended_at < before:
                with self._lock:
                    del self._instances[instance.record.id]
                self._forget(instance.record.id)
                shutil.rmtree(instance.guest.folder)
