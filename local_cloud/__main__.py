"""`python -m local_cloud --state-dir DIR`: AWS on one machine, until it is told to stop."""

import gc
import os
import select
import signal
import sys

from local_cloud import ACCOUNT, CloudError, listeners, points
from local_cloud.arguments import Arguments, parse
from local_cloud.guard.keys import CloudKeys
from local_cloud.hostile.dice import Hostility
from local_cloud.hostile.journal import JOURNAL_NAME
from local_cloud.service_process import ServiceProcess
from local_cloud.state_folder import FolderInUse, StateFolder

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopRequest:
    """Turns the stop signals into a file descriptor that `select` can wait for."""

    def __init__(self) -> None:
        self.asked, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            # nohup ignores SIGHUP on purpose.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda *_: None)

    def is_asked(self) -> bool:
        ready, _, _ = select.select([self.asked], [], [], 0)
        return bool(ready)


def wait(stop: StopRequest, services: ServiceProcess) -> None:
    """Wait for a stop signal; restart ministack when it dies. Raises ServiceDied when it keeps dying."""
    while True:
        ready, _, _ = select.select([stop.asked, services.ended], [], [])
        if stop.asked in ready:
            return
        services.start_again()
        print("local cloud: ministack (S3, SQS and friends) had died and is started again", file=sys.stderr, flush=True)


def announce(hostility: Hostility, folder: StateFolder) -> None:
    """Print that the cloud is hostile, and where it writes its faults down."""
    print(
        f"local cloud is HOSTILE (seed {hostility.seed}): it fails and lies on purpose. "
        f"Every fault is in {folder.logs / JOURNAL_NAME}",
        flush=True,
    )


def run(arguments: Arguments, folder: StateFolder) -> None:
    """Start everything, wait for a stop signal, stop everything. Raises CloudError, OSError."""
    # Garbage collection while moto loads its tables frees nothing and makes the start a third longer.
    gc.disable()
    stop = StopRequest()
    moto_listener = listeners.listen(arguments.host, arguments.port)
    services_listener = listeners.listen(arguments.host, arguments.services_port)
    # Only instances use the metadata service.
    metadata_listener = listeners.listen(listeners.loopback(arguments.host), arguments.metadata_port)
    keys = CloudKeys.take()
    services = ServiceProcess(services_listener, folder, ACCOUNT, arguments.region, keys, arguments.hostility)
    url = listeners.url(moto_listener)
    endpoints = services.endpoints(url) | {"AWS_DEFAULT_REGION": arguments.region}
    # All sockets listen already: a caller waits for its answer and can start up at the same time.
    pair = {"AWS_ACCESS_KEY_ID": keys.access_key_id, "AWS_SECRET_ACCESS_KEY": keys.secret_access_key}
    folder.write_env({**endpoints, **pair, "AWS_EC2_METADATA_DISABLED": "true"})
    try:
        # Imported here: it takes a second, in which ministack boots.
        points.check(points.TABLES)
        from local_cloud.ec2.tables import tables_of

        with tables_of(arguments.region):
            points.check((*points.MOTO, *points.GUARD))
            from local_cloud.cloud import open_cloud

        cloud = open_cloud(arguments, folder, moto_listener, metadata_listener, endpoints, keys)
        try:
            services.wait_until_ready()
            if stop.is_asked():
                return
            gc.freeze()
            gc.enable()
            print(f"local cloud ready: {url} (EC2 and friends), {services.url} (S3, SQS and friends)", flush=True)
            print(f"local cloud: {cloud.limiter.describe()}", flush=True)
            if arguments.hostility:
                announce(arguments.hostility, folder)
            wait(stop, services)
        finally:
            cloud.close()
    finally:
        folder.remove_env()
        services.stop()


def main() -> int:
    arguments = parse(sys.argv[1:])
    folder = StateFolder(arguments.state_dir)
    try:
        folder.take()
        if left := folder.sweep():
            print(f"local cloud: ended {left} processes that an earlier run had left behind", file=sys.stderr)
        run(arguments, folder)
    except FolderInUse as error:
        print(f"local cloud: {error}", file=sys.stderr)
        return 2
    except (CloudError, OSError) as error:
        print(f"local cloud: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
