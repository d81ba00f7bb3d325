"""The child process of a training, `python -m inference.training <request>`.

See `inference.preparing.subprocess_task`.
"""

from __future__ import annotations

import os
from typing import Any

from inference.keras_net import quiet_tensorflow
from inference.preparing import subprocess_task
from inference.preparing.subprocess_task import Tell
from inference.training.recipe import TrainingRequest


def work(request: str, tell: Tell) -> dict[str, Any]:
    """Train a model, as `request` says."""
    tell(say="starting TensorFlow")
    # TensorFlow leaves it off on AMD's processors, where training resnet_small then takes four times as long.
    os.putenv("TF_ENABLE_ONEDNN_OPTS", "1")  # TensorFlow's C++ part reads this when it is imported
    quiet_tensorflow()
    from inference.training.learn import Training  # imports TensorFlow

    return Training(TrainingRequest.from_json(request), tell).run()


if __name__ == "__main__":
    subprocess_task.answer(work)
