"""OpenCV's dnn module on the CPU: runs darknet's nets from their own files. OpenCV 5 cannot read them."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.answer import Outputs
from inference.arithmetic import FLOAT32
from inference.engines import Loaded
from inference.model import Model
from shoal.errors import Permanent

_LAYERS, _WEIGHTS = ".cfg", ".weights"
_SCALE = 1 / 255  # darknet's nets take RGB of 0 to 1: load_image_stb in its src/image.c


class OpenCv:
    """See `inference.engines.Engine`."""

    def precisions(self) -> tuple[str, ...]:
        """Return float32 alone."""
        return (FLOAT32,)

    def convert(self, net: Any, folder: Path) -> None:
        """Copy the .cfg and the .weights file of a darknet net. Raises Permanent for any other net."""
        if not isinstance(net, Path) or not net.is_dir():
            raise Permanent("opencv runs darknet's nets only: set SHOAL_ENGINE to another engine")
        for ending in (_LAYERS, _WEIGHTS):
            shutil.copyfile(_file(net, ending), folder / f"net{ending}")

    def quantize(self, model: Model, folder: Path, rows: list[NDArray[Any]], target: Path) -> None:  # noqa: ARG002
        """Raise Permanent: this engine has no int8."""
        raise Permanent(f"opencv runs {model.name} in float32 only")

    def load(self, model: Model, folder: Path, threads: int | None = None, precision: str = FLOAT32) -> Loaded:  # noqa: ARG002
        """Load the net, which always computes in float32. Raises Permanent if the files are damaged.

        OpenCV does not notice a short file of weights: `store.find` compares its size with the card.

        OpenCV has one number of threads for the process: that of the last net that was loaded with `threads`.
        """
        import cv2

        if threads is not None:
            cv2.setNumThreads(threads)
        try:
            return _Darknet(cv2.dnn.readNetFromDarknet(str(_file(folder, _LAYERS)), str(_file(folder, _WEIGHTS))))
        except (cv2.error, Permanent) as error:
            raise Permanent(
                f"{model.name} cannot be loaded, the files in {folder} are damaged: run `shoal models prepare --again`"
            ) from error


class _Darknet:
    batch = 2

    def __init__(self, net: Any) -> None:
        self._net = net
        self._names = net.getUnconnectedOutLayersNames()
        self._lock = threading.Lock()  # a net keeps the input and the output of its call

    def infer(self, batch: NDArray[Any]) -> Outputs:
        """One output for each last layer, [N, rows, numbers]."""
        import cv2

        blob = cv2.dnn.blobFromImages(list(batch), _SCALE)
        with self._lock:
            self._net.setInput(blob)
            found = self._net.forward(self._names)
            # For one picture OpenCV leaves out the first axis.
            return tuple(np.array(one, np.float32).reshape(len(batch), -1, one.shape[-1]) for one in found)


def _file(folder: Path, ending: str) -> Path:
    paths = list(folder.glob(f"*{ending}"))
    if len(paths) != 1:
        raise Permanent(f"{folder} has {len(paths)} {ending} files, not one")
    return paths[0]


ENGINE = OpenCv()
