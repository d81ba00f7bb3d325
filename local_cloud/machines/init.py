"""The first process of an instance: starts programs, reaps them, and leaves no process behind.

    python -I -S init.py GRACE_SECONDS WORKING_FOLDER PID_FILE ENDS CPUS GROUPS [PROGRAM [ARGUMENT ...]]

ENDS is "with-program" to leave when the last process has ended, "when-told" to stay until told. CPUS are the numbers of
the processors for its programs, separated by commas; empty means all. GROUPS are the cgroup.procs files of their
control groups, separated by colons.

It has one thread and uses the standard library only, so that it starts in 30 ms and takes 10 MB. It is a child
subreaper: every descendant stays its descendant, so it finds all of them. Standard input is a socket to the host:

    from the host     run COMMAND       start COMMAND in a shell
                      stop SECONDS      SIGTERM to every descendant, SIGKILL to those left after SECONDS, then leave
                      (end of file)     the host has died: SIGKILL to every descendant, then leave
    to the host       shutdown          the instance asked to be shut down (SIGTERM to this process)
                      reboot            the instance asked to be started again (SIGHUP to this process)

Its exit status is 0 when it ended in order; anything else means that it was killed.
"""

# Pathlib would double the time that this program takes to start.
# ruff: noqa: PTH119, PTH123, PTH208

import ctypes
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
HANDLED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
# Python ignores these two; a program must not inherit that.
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
KILL_PATIENCE_SECONDS = 30.0

libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: "int | bytes") -> None:
    """Raise OSError where the kernel refuses."""
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def say(text: str) -> None:
    """Write one line to the console of the instance."""
    os.write(1, f"[init] {text}\n".encode())


def descendants() -> "list[int]":
    """Every living process below this one."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != b"Z":
            children.setdefault(int(parent), []).append(int(name))
    result: list[int] = []
    parents = [os.getpid()]
    while parents:
        below = children.get(parents.pop(), [])
        result += below
        parents += below
    return result


def signal_each(pids: "Iterable[int]", number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def ask_all_to_end() -> None:
    """Send SIGTERM to every descendant, including those that are being forked at this moment.

    First stop all of them, until a look finds no new one: a child born between the look and the signal would miss the
    signal. Processes that a signal handler starts afterwards get none.
    """
    halted: set[int] = set()
    while new := set(descendants()) - halted:
        signal_each(new, signal.SIGSTOP)
        halted |= new
    signal_each(halted, signal.SIGTERM)
    signal_each(halted, signal.SIGCONT)


class Init:
    def __init__(self, grace_seconds: float, working_folder: str, ends_with_program: bool) -> None:
        self.grace_seconds = grace_seconds
        self.working_folder = working_folder
        self.ends_with_program = ends_with_program
        self.program_pid = 0
        self.program_status: int | None = None
        self.program_name = ""
        self.deadline: float | None = None
        self.unread = b""
        # A copy that programs do not inherit, or the host would never see the end of file.
        self.control = os.dup(0)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.close(null)
        self.signals, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup)
        for number in HANDLED:
            signal.signal(number, lambda *_: None)

    def spawn(self, arguments: "list[str]", folder: str) -> int:
        me = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        pid = os.fork()
        if pid == 0:
            try:
                for number in HANDLED + IGNORED_BY_PYTHON:
                    signal.signal(number, signal.SIG_DFL)
                # A group of its own: a script's `kill 0` must not reach init.
                os.setsid()
                prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() == me:
                    os.chdir(folder)
                    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
                    os.execv(arguments[0], arguments)
            except OSError as error:
                say(f"cannot start {arguments[0]}: {error.strerror}")
            finally:
                os._exit(127)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        return pid

    def start_program(self, arguments: "list[str]") -> None:
        self.program_name = os.path.basename(arguments[0])
        self.program_pid = self.spawn(arguments, self.working_folder)

    def tell(self, line: str) -> None:
        try:
            os.write(self.control, line.encode() + b"\n")
        except BrokenPipeError:
            self.host_died()

    def reap(self) -> bool:
        """Reap ended processes; True when no child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self.program_pid:
                code = self.program_status = os.waitstatus_to_exitcode(status)
                how = f"exited with status {code}" if code >= 0 else f"was killed by signal {-code}"
                say(f"{self.program_name} {how}")

    def kill_all(self) -> None:
        patience = time.monotonic() + KILL_PATIENCE_SECONDS
        while not self.reap():
            if time.monotonic() > patience:
                say("some processes cannot be killed")
                return
            signal_each(descendants(), signal.SIGKILL)
            time.sleep(0.005)

    def host_died(self) -> None:
        self.kill_all()
        os._exit(1)

    def begin_stop(self, grace_seconds: float) -> None:
        deadline = time.monotonic() + grace_seconds
        if self.deadline is None or deadline < self.deadline:
            self.deadline = deadline
        self.ask_all_to_end()

    def ask_all_to_end(self) -> None:
        ask_all_to_end()

    def read_signals(self) -> None:
        for number in os.read(self.signals, 512):
            if number == signal.SIGTERM:
                self.tell("shutdown")
                self.begin_stop(self.grace_seconds)
            elif number == signal.SIGHUP:
                self.tell("reboot")
                self.begin_stop(self.grace_seconds)

    def read_commands(self) -> None:
        try:
            received = os.read(self.control, 65536)
        except ConnectionResetError:
            received = b""
        if not received:
            self.host_died()
        *lines, self.unread = (self.unread + received).split(b"\n")
        for line in lines:
            word, _, rest = line.decode().partition(" ")
            if word == "stop":
                self.begin_stop(float(rest))
            elif word == "run" and self.deadline is None:
                self.spawn(["/bin/sh", "-c", rest], os.environ.get("HOME", "/"))

    def live(self) -> None:
        poller = select.poll()
        poller.register(self.control, select.POLLIN)
        poller.register(self.signals, select.POLLIN)
        while True:
            nothing_left = self.reap()
            if self.deadline is not None:
                if nothing_left:
                    return
                if time.monotonic() >= self.deadline:
                    say("the grace period is over: killing what is left")
                    self.kill_all()
                    return
            elif nothing_left and self.ends_with_program:
                return
            wait = None if self.deadline is None else max(0.0, self.deadline - time.monotonic()) * 1000 + 1
            for source, _ in poller.poll(wait):
                if source == self.control:
                    self.read_commands()
                else:
                    self.read_signals()


def limit(cpus: str, groups: str) -> None:
    """Bind this process and its descendants to processors and control groups. A failure is said on the console."""
    try:
        if cpus:
            os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
        for path in filter(None, groups.split(":")):
            with open(path, "w") as file:
                file.write("0")
    except OSError as error:
        say(f"no limit set: {error}")


def enter(pid_file: str, cpus: str, groups: str) -> None:
    """Become the first process of an instance: the ancestor of all that it starts, within its limits."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_NAME, b"instance-init")
    limit(cpus, groups)
    with open(pid_file, "w") as file:
        file.write(str(os.getpid()))


def main(arguments: "list[str]") -> None:
    grace_seconds, working_folder, pid_file, ends, cpus, groups, *program = arguments
    enter(pid_file, cpus, groups)
    init = Init(float(grace_seconds), working_folder, ends == "with-program")
    if program:
        init.start_program(program)
    init.live()


if __name__ == "__main__":
    main(sys.argv[1:])
