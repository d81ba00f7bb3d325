"""OpenVINO on the CPU: the default. Starts in half a second and never imports TensorFlow."""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from inference.answer import Outputs
from inference.arithmetic import BFLOAT16, FLOAT32, INT8
from inference.engines import Loaded
from inference.engines._compiled import compiled_folder
from inference.model import Model
from shoal.errors import Permanent

_CALLERS = 2  # threads of a worker that call `infer` at once
_IMAGES = 2  # per request: 1 is 4 % slower, 4 is no faster
_FILE = "model.xml"  # OpenVINO keeps the weights in model.bin beside it


class OpenVino:
    """See `inference.engines.Engine`."""

    def precisions(self) -> tuple[str, ...]:
        """Return float32, bfloat16 on a CPU that supports it, and int8."""
        capabilities = _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return (FLOAT32, BFLOAT16, INT8) if "BF16" in capabilities else (FLOAT32, INT8)

    def convert(self, net: Any, folder: Path) -> None:
        """Write the net as OpenVINO IR with float32 weights and a free batch size."""
        openvino = _openvino()
        openvino.save_model(openvino.convert_model(net), folder / _FILE, compress_to_fp16=False)

    def quantize(self, model: Model, folder: Path, rows: list[NDArray[Any]], target: Path) -> None:  # noqa: ARG002
        """Write the model with int8 weights and activations by NNCF; the first convolution stays in float32.

        That and the preset "mixed" gave the best accuracy: see docs/models.md.
        """
        openvino = _openvino()
        import nncf

        nncf.set_log_level(logging.ERROR)
        net = openvino.Core().read_model(folder / _FILE)
        quantized = nncf.quantize(
            net,
            nncf.Dataset(rows, lambda row: [row[np.newaxis]]),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(rows),
            ignored_scope=nncf.IgnoredScope(names=[_first_convolution(net)]),
        )
        openvino.save_model(quantized, target / _FILE)

    def load(self, model: Model, folder: Path, threads: int | None = None, precision: str = FLOAT32) -> Loaded:
        """Compile the model for this machine. Raises Permanent if the files are damaged.

        OpenVINO chooses the number of streams. On two cores it takes two streams of one thread, which is 10 % faster
        than one stream of two threads. It is told the arithmetic, because it would take bfloat16 on each CPU that has
        it, also where that is slower. The parts of a model in int8 that are not in int8 are computed in float32. The
        compiled form is kept beside the files; in int8 it saves the next process 0.35 of 0.45 s.
        """
        openvino = _openvino()
        kind = "bf16" if precision == BFLOAT16 else "f32"
        options: dict[str, Any] = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": kind}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        machine = [str(core.get_property("CPU", name)) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
        try:
            with compiled_folder(folder, openvino.__version__, *machine, repr(options)) as kept:
                if kept is not None:
                    options["CACHE_DIR"] = kept
                return _Compiled(core.compile_model(folder / _FILE, "CPU", options))
        except RuntimeError as error:
            raise Permanent(
                f"{model.name} cannot be loaded, the files in {folder} are damaged: run `shoal models prepare --again`"
            ) from error


class _Compiled:
    """A compiled model. It divides a batch among as many requests as there are streams.

    Each caller has its own requests during its call. Those of a second caller wait in the engine, so the engine is
    never idle between two calls.
    """

    _calling = threading.Lock()
    _called = False  # whether any compiled model was called in this process

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._streams = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self.batch = self._streams * _IMAGES
        # Made before the first call: to make one later would wait for an idle engine, and hold the GIL.
        self._idle = deque(self._make_requests() for _ in range(_CALLERS))

    def infer(self, batch: NDArray[Any]) -> Outputs:
        own = self._take_requests()
        answers = _answers(own, batch) if _Compiled._called else self._first(own, batch)
        self._idle.append(own)  # not after an error: a request may still be running
        return answers

    def _first(self, requests: list[Any], batch: NDArray[Any]) -> Outputs:
        """Make the first call of the process while no other thread calls.

        In the first call OpenVINO's Python binding holds a C++ lock and waits for the GIL. A second thread that holds
        the GIL and waits for the C++ lock would block both for ever.
        """
        with _Compiled._calling:
            answers = _answers(requests, batch)
            _Compiled._called = True
        return answers

    def _take_requests(self) -> list[Any]:
        try:
            return self._idle.pop()
        except IndexError:  # more callers at once than before
            return self._make_requests()

    def _make_requests(self) -> list[Any]:
        return [self._compiled.create_infer_request() for _ in range(self._streams)]


def _answers(requests: list[Any], batch: NDArray[Any]) -> Outputs:
    parts = np.array_split(np.ascontiguousarray(batch), max(1, min(len(batch), len(requests))))
    used = requests[: len(parts)]
    for request, part in zip(used, parts, strict=True):
        request.start_async([part], share_inputs=True)
    for request in used:
        request.wait()
    # The output tensors belong to the requests and are overwritten by the next call.
    outputs = zip(*(request.output_tensors for request in used), strict=True)
    return tuple(np.concatenate([one.data for one in parts], dtype=np.float32) for parts in outputs)


ENGINE = OpenVino()


def _first_convolution(net: Any) -> str:
    name: str = next(one.get_friendly_name() for one in net.get_ordered_ops() if one.get_type_name() == "Convolution")
    return name


def _openvino() -> Any:
    # None makes the import of its telemetry package fail, and OpenVINO uses a stub. So it sends no usage statistics
    # when it converts a model, and its import takes 20 % less time.
    sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))
    import openvino

    return openvino
