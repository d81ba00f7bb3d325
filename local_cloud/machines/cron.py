"""Cron files as /etc/cron.d holds them: which commands are due in which minute."""

import re
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cronsim import CronSim, CronSimError

_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_VARIABLE = re.compile(r"^([A-Za-z_]\w*)\s*=\s*(.*)$")
# These are never changed: a PATH of the real machine would hide the instance's commands.
# A file that sets PATH gets the instance's, which has all commands.
_KEPT_VARIABLES = ("PATH", "HOME", "SHELL", "MAILTO")


class CronError(ValueError):
    """A line has an error; the text says which part."""


@dataclass(frozen=True)
class Schedule:
    """When a job is due. `expression` has the five fields of crontab(5); empty stands for "once, at boot"."""

    expression: str

    @property
    def at_boot(self) -> bool:
        return not self.expression

    def is_due(self, minute: datetime) -> bool:
        """Whether the job runs in this minute."""
        if self.at_boot:
            return False
        now = minute.replace(second=0, microsecond=0, tzinfo=None)
        # The search ends at once for most schedules, and within some milliseconds for the 29th of February.
        return next(CronSim(self.expression, now - timedelta(minutes=1)), None) == now


@dataclass(frozen=True)
class CronJob:
    """`sets_path`: whether its file sets PATH; otherwise a job has cron's own, in which `shutdown` is not found."""

    schedule: Schedule
    command: str
    sets_path: bool = False


def parse_schedule(text: str) -> Schedule:
    """Parse five fields, or a nickname such as @hourly or @reboot. Raises CronError."""
    if text == "@reboot":
        return Schedule("")
    expression = _NICKNAMES.get(text, text)
    if len(expression.split()) != 5:
        raise CronError(f"'{text}' is not a schedule")
    try:
        CronSim(expression, datetime.min)
    except (CronSimError, AssertionError) as error:
        raise CronError(f"'{text}' is not a schedule: {error}") from error
    return Schedule(expression)


def parse_line(line: str) -> CronJob | None:
    """Parse one line: schedule, user, command. None for a blank line or a comment. Raises CronError.

    The user is ignored. As in crontab(5) a % ends the command unless a backslash stands before it.
    """
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    words = line.split(None, 2 if line.startswith("@") else 6)
    count = 1 if line.startswith("@") else 5
    if len(words) < count + 2:
        raise CronError("a schedule, a user and a command are needed")
    command = re.split(r"(?<!\\)%", words[-1], maxsplit=1)[0].replace("\\%", "%")
    return CronJob(parse_schedule(" ".join(words[:count])), command)


def read_jobs(folder: Path, complain: Callable[[str], None]) -> Iterator[CronJob]:
    """The jobs of all files in a cron.d folder. A line with an error is passed to `complain` and left out."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file():
            continue
        exports, sets_path = "", False
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if variable := _VARIABLE.match(line.strip()):
                sets_path = sets_path or variable[1] == "PATH"
                if variable[1] not in _KEPT_VARIABLES:
                    exports += f"export {variable[1]}={shlex.quote(variable[2].strip(chr(34) + chr(39)))}; "
                continue
            try:
                job = parse_line(line)
            except CronError as error:
                complain(f"{path.name}, line {number}: {error}")
                continue
            if job is not None:
                yield CronJob(job.schedule, exports + job.command, sets_path)


class CronClock:
    """Calls `tick` at the begin of every minute. A minute lasts `minute_seconds`, so that tests need not wait."""

    def __init__(self, tick: Callable[[datetime], None], minute_seconds: float = 60.0) -> None:
        self._tick = tick
        self._minute_seconds = minute_seconds
        self._stopped = threading.Event()

    def run(self) -> None:
        """Tick until `stop`. Minutes during which the machine slept are skipped."""
        now = time.time()
        base = now - now % 60 if self._minute_seconds == 60 else now
        done = int((now - base) / self._minute_seconds)
        while True:
            if self._stopped.wait(max(0.0, base + (done + 1) * self._minute_seconds - time.time())):
                return
            done = int((time.time() - base) / self._minute_seconds)
            self._tick(datetime.fromtimestamp(base - base % 60, UTC).astimezone() + timedelta(minutes=done))

    def stop(self) -> None:
        self._stopped.set()
