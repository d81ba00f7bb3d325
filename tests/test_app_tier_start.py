"""The start of a worker process: what it does without, and that nothing runs beside the engine's first call."""

from __future__ import annotations

import os
import re
import socket
import sys
import uuid
from pathlib import Path

import pytest

from benchmarks.running import stub_engine
from benchmarks.running.processes import running
from inference import measured
from inference.arithmetic import FLOAT32
from inference.measured import Measurements, OnCpu, Rate
from shoal.aws import connect, prepare
from shoal.settings import load
from tests.app_tier_fixtures import DEADLINE_SECONDS, put, wait_for
from tests.web_fixtures import jpeg

PROGRAM = """
import sys, threading
from app_tier.__main__ import main
from benchmarks.running import stub_engine
from benchmarks.running.stub_engine import _LoadedStub

def noted(self, batch, infer=_LoadedStub.infer):
    callers.append(threading.current_thread().name)
    return infer(self, batch)

callers = []
stub_engine.SECONDS = 0.01
_LoadedStub.infer = noted
status = main()
print("first call:", callers[0])
slow = "boto3", "onnxruntime", "openvino.tools.ovc", "tensorflow"
print("loaded:", *(name for name in slow if sys.modules.get(name)))
sys.exit(status)
"""


@pytest.mark.usefixtures("embedded_cloud")
def test_a_worker_calls_its_engine_alone_first_and_needs_nothing_that_is_slow_to_import(tmp_path: Path) -> None:
    stub_engine.prepare(tmp_path / "cache")
    home = tmp_path / "cache" / "models" / "resnet50"
    elsewhere = OnCpu(FLOAT32, {FLOAT32: Rate(9.0, "another CPU")})
    Measurements("", on_cpu={"another CPU: avx": elsewhere}).write(home, stub_engine.NAME)
    own = {
        "SHOAL_PREFIX": f"t{uuid.uuid4().hex[:12]}",
        "SHOAL_CACHE_DIR": str(tmp_path / "cache"),
        "SHOAL_ENGINE": stub_engine.NAME,
    }
    settings = load(own)
    prepare(settings)
    cloud = connect(settings)
    put(cloud, *[jpeg()] * 20, reply_to=settings.resp_queue)
    log = tmp_path / "worker.log"
    with running([sys.executable, "-c", PROGRAM], {**os.environ, **own}, log) as process:
        wait_for(lambda: cloud.responses.depth().visible == 20 and cloud.requests.depth().total == 0)
        wait_for(lambda: len(cloud.register.workers()) == 1)
        [(name, beat)] = cloud.register.workers().items()
        # A pid alone is 1 in every container.
        assert re.fullmatch(rf"worker-{re.escape(socket.gethostname())}-[0-9a-f]{{6}}", name)
        assert beat.arithmetic == "float32, measured by this worker"
        process.terminate()
        assert process.wait(DEADLINE_SECONDS) == 0
    last = cloud.register.workers()[name]
    assert (last.finished, last.in_progress, last.leaving) == (20, 0, True)
    known = measured.read(home, stub_engine.NAME, "")
    assert known is not None
    assert set(known.on_cpu) == {"another CPU: avx", measured.kind()}
    # An engine that cannot do it fails before a message is received.
    assert log.read_text().splitlines()[-2:] == ["first call: MainThread", "loaded:"]
