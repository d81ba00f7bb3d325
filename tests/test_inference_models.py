"""Every model: architecture, preprocessing and label order against keras.applications' own, whatever weights there are.

Weights are random here, because most are not available everywhere, but chosen so that answers differ by picture:
what an engine computes from a photo's bytes has to be what Keras' `preprocess_input` and `predict` give.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inference import model as models
from inference import store
from inference.preparing import agreement, applications, subprocess_task
from inference.preparing import prepare as preparation
from shoal import plugins
from shoal.errors import NotFound, Retryable, SettingsError
from tests.inference_fixtures import PHOTOS, ROOT

CLASSIFIERS = sorted(name for name in plugins.available("inference.models") if models.by_name(name).task == "classify")
DEEPER = {"resnet101", "resnet152"}  # ResNet50's code and preprocessing, more of the same layers: too long for here

_COMPARE = """
import importlib, json, pathlib, sys, tempfile
import numpy as np
from inference import engines, model as models, tasks
from inference.preparing import architecture
names, photos = sys.argv[1].split(), [pathlib.Path(photo) for photo in sys.argv[2:]]

def compare(model, folder):
    net = architecture.stock(model)
    pixels = np.concatenate([tasks.by_name(model.task).decode(model, p.read_bytes(), 10**9).tensor for p in photos])
    stock = importlib.import_module(f"keras.applications.{model.keras[0]}")
    prepared = stock.preprocess_input(pixels.astype(np.float32))
    for layer in net.layers:
        layer.momentum = 0.0  # what a batch norm sees next is what it goes by: signals neither vanish nor explode
    net(prepared, training=True)
    last = net.layers[-1]
    kernel, bias = last.get_weights()
    last.set_weights([np.random.default_rng(7).normal(0, 0.3, kernel.shape), bias])
    right = net.predict_on_batch(prepared)
    wrong = net.predict_on_batch(pixels.astype(np.float32) / 77 - 1)
    engine = engines.by_name("openvino")
    engine.convert(architecture.with_preprocessing(model, net), folder)
    found = engine.load(model, folder).infer(pixels)[0]
    return {
        "shape": found.shape, "classes": len(models.labels(model.labels)), "side": net.input_shape[1],
        "off": float(np.abs(found - right).max()), "wrong": float(np.abs(wrong - right).max()),
        "apart": float(np.abs(right[0] - right[1]).max()),
    }

for name in names:
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({name: compare(models.by_name(name), pathlib.Path(folder))}))
"""
COMPARED = [name for name in CLASSIFIERS if name not in DEEPER]


@pytest.fixture(scope="module")
def compared() -> dict[str, Any]:
    """What the engine and Keras compute, by the model's name. One process for all: TensorFlow starts slowly."""
    command = [sys.executable, "-c", _COMPARE, " ".join(COMPARED), *map(str, PHOTOS[:2])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]
    return {name: found for line in lines for name, found in line.items()}


@pytest.mark.parametrize("name", COMPARED)
def test_the_artefact_computes_what_keras_applications_does(name: str, compared: dict[str, Any]) -> None:
    found = compared[name]

    assert found["shape"] == [2, 1000]
    assert found["classes"] == 1000
    assert found["side"] == models.by_name(name).side
    assert found["off"] < agreement.LIMIT
    assert found["apart"] > 0.01  # it does tell pictures apart,
    assert found["wrong"] > 0.01  # and another preprocessing would have been noticed


def test_the_models_that_are_promised_are_there() -> None:
    promised = {"resnet50", "resnet101", "resnet152", "mobilenet_v2", "inception_v3", "efficientnet_b0"}

    assert promised <= set(CLASSIFIERS)
    assert {models.by_name(name).name for name in promised} == promised


def test_where_keras_host_is_not_reached_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nothing answers

    said: list[str] = []
    with pytest.raises(Retryable) as raised:
        preparation.prepare("efficientnet_b0", "openvino", tmp_path, None, PHOTOS, said.append)

    assert str(raised.value).startswith(
        "no weights for EfficientNetB0 are available (Keras' own download does not answer): connect to the internet"
    )
    assert "SHOAL_MODEL_WEIGHTS" in str(raised.value)
    assert "looking for Keras' own download" in said


def test_any_name_of_keras_applications_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")

    with pytest.raises(Retryable, match="no weights for MobileNetV3Small are available"):
        preparation.prepare("mobilenet_v3_small", "openvino", tmp_path, None, PHOTOS, print)

    found = store.model("mobilenet_v3_small", tmp_path)
    assert (found.title, found.side, found.keras) == ("MobileNetV3Small", 224, ("mobilenet_v3", "MobileNetV3Small"))
    assert len(models.labels(found.labels)) == 1000


def test_a_name_that_is_nobodys_is_answered_with_all_there_are(tmp_path: Path) -> None:
    with pytest.raises(
        NotFound, match=r"there is no model nobody; there are .*resnet50, .*densenet121.*vgg16"
    ) as raised:
        preparation.prepare("nobody", "openvino", tmp_path, None, PHOTOS, print)

    assert "\n" not in str(raised.value)
    assert str(raised.value).count("resnet50,") == 1
    assert not (tmp_path / "models").exists()


def test_a_name_that_is_nearly_a_models_is_answered_with_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess_task, "ask", lambda *_: {"known": ["resnet50", "vgg16", "vgg19"]})
    for name, near in (("resnet50x", "resnet50"), ("vgg61", r"vgg1\d or vgg1\d")):
        with pytest.raises(NotFound, match=rf"^there is no model {name}\. Did you mean {near}"):
            applications.look_up(name, print)


def test_a_name_that_could_be_no_models_is_not_looked_up_anywhere(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is not one of the models"):
        preparation.prepare("../../etc", "openvino", tmp_path, None, PHOTOS, print)


def test_what_a_child_leaves_among_the_temporary_files_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFlow's autograph leaves a file for each function that it converts."""
    (tmp_path / "leaving.py").write_text(
        "import tempfile\nfrom inference.preparing.subprocess_task import answer\n"
        "answer(lambda request, tell: {'left': tempfile.mkstemp()[1]})\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}")
    left = Path(subprocess_task.ask("leaving", "", lambda _: None)["left"])

    assert left.parent.name.startswith("shoal-")
    assert not left.parent.exists()
