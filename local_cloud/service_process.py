"""ministack as a child process: S3, SQS, SNS, DynamoDB and Lambda."""

import os
import socket
import subprocess
import sys
import time
import urllib.request

from local_cloud import CloudError
from local_cloud.init_process import InitProcess
from local_cloud.state_folder import MARKER, StateFolder

SERVICES = ("s3", "sqs", "sns", "dynamodb", "lambda")
READY_SECONDS = 30.0
STOP_SECONDS = 10.0


class ServiceDied(CloudError):
    """ministack ended without being asked to; the text names its log."""


class ServiceProcess:
    """ministack, under an init of its own.

    It is handed a socket that listens already, so no other process can take its port in between, and init sees to
    it that neither ministack nor the Lambda workers below it outlive this process, however it ends.
    """

    def __init__(self, listener: socket.socket, folder: StateFolder, account: str, region: str) -> None:
        host, port = listener.getsockname()
        self.url = f"http://{host}:{port}"
        self._log = folder.logs / "ministack.log"
        self._log.unlink(missing_ok=True)
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ},
            MARKER: str(folder.path),
            "BIND_HOST": host,
            "MINISTACK_HOST": host,
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
        }
        hypercorn = (sys.executable, "-m", "hypercorn", "ministack.app:app", "--workers", "0")
        self._init = InitProcess(
            environment=environment,
            console=self._log,
            working_folder=folder.services,
            pid_file=folder.cloud / "ministack.pid",
            grace_seconds=STOP_SECONDS,
            program=(
                *(*hypercorn, "--bind", f"fd://{listener.fileno()}"),
                *("--keep-alive", "75", "--log-level", "WARNING"),
            ),
            pass_fds=(listener.fileno(),),
        )
        self.ended = os.pidfd_open(self._init.pid)

    def wait_until_ready(self) -> None:
        """Wait until it answers. Raises ServiceDied."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            # The socket listens from the start, so this call waits in its queue until ministack takes it.
            try:
                with urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=0.5):
                    return
            except OSError:
                if self._has_ended() or time.monotonic() > deadline:
                    raise self.died() from None

    def died(self) -> ServiceDied:
        return ServiceDied(f"ministack (S3, SQS and friends) has died or does not answer: see {self._log}")

    def stop(self) -> None:
        """End it in order, so that it saves its state; kill it when it takes longer than STOP_SECONDS."""
        self._init.stop(STOP_SECONDS)
        self._init.wait(STOP_SECONDS + 5.0)

    def _has_ended(self) -> bool:
        try:
            self._init.wait(0.01)
        except subprocess.TimeoutExpired:
            return False
        return True
