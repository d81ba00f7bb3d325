"""ministack as a child process: S3, SQS, SNS, DynamoDB and Lambda."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from local_cloud import STATE_VARIABLE, CloudError
from local_cloud.guard.addresses import SERVICES, variable
from local_cloud.guard.keys import CloudKeys
from local_cloud.hostile.dice import Hostility
from local_cloud.hostile.journal import JOURNAL_NAME
from local_cloud.listeners import url
from local_cloud.machines.init_process import InitProcess
from local_cloud.state_folder import StateFolder

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on this machine: no proxy
READY_SECONDS = 30.0
STOP_SECONDS = 10.0
MOST_DEATHS = 3
DEATHS_WITHIN_SECONDS = 60.0


class ServiceDied(CloudError):
    """ministack died too often; the text says why and names its log."""


class ServiceProcess:
    """ministack, under an init of its own.

    ministack gets a socket that listens already, so no other process can take its port. Init ends ministack and its
    Lambda workers when this process ends, however it ends. The socket stays open here: while ministack restarts, its
    callers wait instead of being refused.
    """

    def __init__(
        self,
        listener: socket.socket,
        folder: StateFolder,
        account: str,
        region: str,
        keys: CloudKeys,
        hostility: Hostility | None = None,
    ) -> None:
        host, port = listener.getsockname()
        self.url = url(listener)
        self._listener = listener
        self._folder = folder
        self._log = folder.logs / "ministack.log"
        self._log.unlink(missing_ok=True)
        self._deaths: list[float] = []
        self._environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "PYTHONPATH": f"{Path(__file__).parents[1]}:{os.environ.get('PYTHONPATH', '')}".rstrip(":"),
            STATE_VARIABLE: str(folder.path),
            "BIND_HOST": host,
            "MINISTACK_HOST": self.url.removeprefix("http://").partition(":")[0],
            "GATEWAY_PORT": str(port),
            "MINISTACK_ACCOUNT_ID": account,
            "MINISTACK_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "SERVICES": ",".join(SERVICES),
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "PERSIST_STATE": "1",
            "S3_PERSIST": "1",
            "STATE_DIR": str(folder.services / "state"),
            "S3_DATA_DIR": str(folder.services / "s3"),
            "TMPDIR": str(folder.temporary),
            "LOG_LEVEL": "WARNING",
            "PYTHONUNBUFFERED": "1",
            "LOCAL_CLOUD_POLICIES": str(folder.policies),
            **keys.variables(),
        }
        if hostility is not None:
            self._environment["LOCAL_CLOUD_HOSTILITY"] = json.dumps(hostility.to_dict())
            self._environment["LOCAL_CLOUD_JOURNAL"] = str(folder.logs / JOURNAL_NAME)
        self._start()

    def endpoints(self, moto_url: str) -> dict[str, str]:
        """boto3's endpoint variables for all services; `moto_url` serves those that ministack does not."""
        return {
            "AWS_ENDPOINT_URL": moto_url,
            **{variable(service): self.url for service in SERVICES},
        }

    def _start(self) -> None:
        listener = self._listener.fileno()
        self._init = InitProcess(
            environment=self._environment,
            console=self._log,
            working_folder=self._folder.services,
            pid_file=self._folder.cloud / "ministack.pid",
            grace_seconds=STOP_SECONDS,
            program=(
                *(sys.executable, "-m", "uvicorn", "local_cloud.services_app:app", "--fd", str(listener)),
                *("--http", "httptools", "--loop", "asyncio", "--ws", "none", "--lifespan", "on"),
                *("--timeout-keep-alive", "75", "--timeout-graceful-shutdown", "3", "--log-level", "warning"),
                *("--no-access-log", "--no-server-header", "--no-date-header"),
            ),
            pass_fds=(listener,),
        )
        self.ended = os.pidfd_open(self._init.pid)

    def start_again(self) -> None:
        """Restart it on the same port and state. Raises ServiceDied when it has died too often."""
        os.close(self.ended)
        self._init.wait()
        now = time.monotonic()
        self._deaths = [at for at in self._deaths if now - at < DEATHS_WITHIN_SECONDS] + [now]
        if len(self._deaths) > MOST_DEATHS:
            raise ServiceDied(
                f"ministack (S3, SQS and friends) has died {len(self._deaths)} times within "
                f"{DEATHS_WITHIN_SECONDS:.0f} s, so it is not started again: {self._last_words()}"
            )
        self._start()

    def wait_until_ready(self) -> None:
        """Wait until it answers. Raises ServiceDied."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            # The socket listens from the start, so this call waits until ministack accepts it.
            try:
                with _DIRECT.open(f"{self.url}/_ministack/health", timeout=0.5):
                    return
            except OSError:
                if self._has_ended() or time.monotonic() > deadline:
                    raise ServiceDied(
                        f"ministack (S3, SQS and friends) does not answer: {self._last_words()}"
                    ) from None

    def stop(self) -> None:
        """Stop it in order, so that it saves its state; kill it after STOP_SECONDS."""
        self._init.stop(STOP_SECONDS)
        self._init.wait(STOP_SECONDS + 5.0)

    def _last_words(self) -> str:
        """The last line that ministack wrote to its log, and the path of the log."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        last = next((line for line in reversed(lines) if not line.startswith("[init]")), "nothing was written")
        return f"{last} (in {self._log})"

    def _has_ended(self) -> bool:
        try:
            self._init.wait(0.01)
        except subprocess.TimeoutExpired:
            return False
        return True
