"""Models of the user's own: a file and its labels, taken in, served by name, and refused when they do not fit.

The net is small but no fake: it names a picture's strongest colour. Its answers are checked against its formula.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from inference import own, process, store
from inference.pixels import PIXELS
from inference.preparing import adopt
from inference.preparing import prepare as preparation
from shoal.errors import NotFound, Permanent
from shoal.messages import Job, new_batch
from tests.inference_fixtures import MAX_BYTES, MAX_PIXELS, PHOTOS, ROOT, encoded

SIDE = 32
COLOURS = ("red", "green", "blue")
PAINT = {"red": (200, 30, 20), "green": (10, 180, 40), "blue": (30, 60, 190)}
WEIGHTS = np.array([[3, -1, -1], [-1, 3, -1], [-1, -1, 3]], np.float32) / 100


def colour_net(
    file: Path,
    channels_first: bool = True,
    batch: int | str = "N",
    softmax: bool = False,
    outputs: int = 3,
    kind: int = TensorProto.FLOAT,
) -> Path:
    """Averages each channel, and weighs the averages."""
    shape: list[int | str | None] = [batch, 3, SIDE, SIDE] if channels_first else [batch, SIDE, SIDE, 3]
    axes = numpy_helper.from_array(np.array([2, 3] if channels_first else [1, 2], np.int64), "axes")
    last = "logits" if not softmax else "weighed"
    nodes = [
        helper.make_node("ReduceMean", ["input", "axes"], ["averages"], keepdims=0),
        helper.make_node("MatMul", ["averages", "weights"], [last]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["weighed"], ["logits"], axis=1))
    weights = numpy_helper.from_array(WEIGHTS[:, :outputs].copy(), "weights")
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("input", kind, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, outputs])],
        [axes, weights],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), file)
    return file


def expected(paint: Sequence[int], pixels: str) -> np.ndarray:
    """The probabilities that the formula gives for a picture of one colour."""
    wanted = PIXELS[pixels]
    x = np.array(paint[::-1] if wanted.bgr else paint, np.float32)
    logits = ((x - wanted.mean) / wanted.scale) @ WEIGHTS
    return np.asarray(np.exp(logits) / np.exp(logits).sum())


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("red\nn123,green\nblue\n")
    return path


def take_in(name: str, file: Path, labels: Path, cache: Path, pixels: str = "raw", engine: str = "openvino") -> None:
    adopt.adopt(name, file, labels, pixels, cache, print)
    preparation.prepare(name, engine, cache, None, PHOTOS, print)


@pytest.mark.parametrize(
    ("pixels", "channels_first", "softmax", "batch"),
    [("raw", True, False, "N"), ("torch", True, False, 1), ("caffe", False, True, "N"), ("tf", False, False, 1)],
)
def test_an_onnx_file_answers_as_its_formula_says(
    pixels: str, channels_first: bool, softmax: bool, batch: int | str, labels: Path, tmp_path: Path
) -> None:
    file = colour_net(tmp_path / "net.onnx", channels_first, batch, softmax)
    take_in("colours", file, labels, tmp_path, pixels)

    recogniser = process.load(["colours"], "openvino", tmp_path, None, MAX_PIXELS, MAX_BYTES)

    pictures = [encoded(Image.new("RGB", (50, 40), paint), "PNG") for paint in PAINT.values()]
    answers = recogniser.infer("colours", [recogniser.decode("", picture) for picture in pictures])
    for answer, paint in zip(answers, PAINT.values(), strict=True):
        found = {label.name: label.probability for label in answer.labels}
        assert [found[name] for name in COLOURS] == pytest.approx(list(expected(paint, pixels)), abs=1e-4)
    if pixels == "raw":
        assert [answer.labels[0].name for answer in answers] == list(COLOURS)
        assert answers[1].labels[0].wordnet_id == "n123"
        assert answers[0].labels[0].wordnet_id == ""


def test_several_models_are_served_and_loaded_when_they_are_asked_for(labels: Path, tmp_path: Path) -> None:
    take_in("one", colour_net(tmp_path / "one.onnx"), labels, tmp_path)
    other = tmp_path / "others.txt"
    other.write_text("rouge\nvert\nbleu\n")
    take_in("other", colour_net(tmp_path / "other.onnx", channels_first=False), other, tmp_path)
    recogniser = process.load(["one", "other"], "openvino", tmp_path, None, MAX_PIXELS, MAX_BYTES)
    assert recogniser.models == ("one", "other")

    picture = encoded(Image.new("RGB", (9, 9), PAINT["green"]), "PNG")
    results = [
        process.process(recogniser, Job(new_batch(0), 0, "a.png", "replies", model), picture)
        for model in ("", "one", "other", "third")
    ]

    assert [result.model for result in results] == ["one", "one", "other", ""]
    assert [result.label for result in results] == ["green", "green", "vert", ""]
    assert results[3].error == "the model third is not available here; one, other are"


def test_the_second_engine_runs_the_file_too(labels: Path, tmp_path: Path) -> None:
    take_in("colours", colour_net(tmp_path / "net.onnx"), labels, tmp_path, engine="onnxruntime")

    recogniser = process.load(["colours"], "onnxruntime", tmp_path, None, MAX_PIXELS, MAX_BYTES, threads=1)

    picture = encoded(Image.new("RGB", (9, 9), PAINT["blue"]), "PNG")
    assert recogniser.infer("", [recogniser.decode("", picture)])[0].labels[0].name == "blue"
    with pytest.raises(Permanent, match="Keras cannot run an ONNX file: set SHOAL_ENGINE"):
        preparation.prepare("colours", "keras", tmp_path, None, PHOTOS, print)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outputs": 2}, r"gives \(None, 2\), but there are 3 labels"),
        ({"kind": TensorProto.FLOAT16}, "is not float32|cannot be loaded"),
        ({"name": "Colours"}, "cannot be a model's name"),
        ({"name": "resnet50"}, "is a model of Shoal's own"),
        ({"file": "net.pth"}, "is no model that can be taken in"),
        ({"file": "noise.onnx"}, "is not an ONNX model that can be loaded"),
        ({"labels": "a,b,c\n"}, "is not a name, or an id, a comma and a name"),
        ({"labels": ""}, "nothing is not a name"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(
    change: dict[str, object], message: str, labels: Path, tmp_path: Path
) -> None:
    (tmp_path / "net.pth").touch()
    (tmp_path / "noise.onnx").write_bytes(b"\x00noise" * 50)
    file = tmp_path / str(change.get("file", "net.onnx"))
    if "file" not in change:
        colour_net(file, **{key: change[key] for key in ("outputs", "kind") if key in change})  # type: ignore[arg-type]
    if "labels" in change:
        labels.write_text(str(change["labels"]))

    with pytest.raises(Permanent, match=message) as raised:
        adopt.adopt(str(change.get("name", "colours")), file, labels, "raw", tmp_path, print)

    assert "\n" not in str(raised.value)
    assert not list(tmp_path.glob("models/*/*"))
    with pytest.raises(NotFound, match="shoal models add"):
        store.find("colours", "openvino", tmp_path)


def test_a_name_is_taken_once_unless_it_shall_be_replaced(labels: Path, tmp_path: Path) -> None:
    file = colour_net(tmp_path / "net.onnx")
    adopt.adopt("colours", file, labels, "raw", tmp_path, print)
    with pytest.raises(Permanent, match="there is a model colours already"):
        adopt.adopt("colours", file, labels, "raw", tmp_path, print)

    labels.write_text("rot\ngruen\nblau\n")
    adopt.adopt("colours", file, labels, "raw", tmp_path, print, replace=True)

    found = own.find("colours", tmp_path)
    assert found is not None
    assert "gruen" in Path(found.labels).read_text()


def test_damaged_weights_of_ones_own_are_not_thrown_away(labels: Path, tmp_path: Path) -> None:
    adopt.adopt("colours", colour_net(tmp_path / "net.onnx"), labels, "raw", tmp_path, print)
    weights = tmp_path / "models" / "colours" / store.WEIGHTS / own.ONNX
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

    with pytest.raises(Permanent, match="there is no other copy to fetch"):
        preparation.prepare("colours", "openvino", tmp_path, None, PHOTOS, print, again=True)

    assert weights.exists()


_KERAS_FILES = """
import sys
from inference.keras_net import quiet_tensorflow
quiet_tensorflow()
import keras, numpy
x = keras.Input((32, 32, 3))
logits = keras.layers.Dense(3, use_bias=False, name="weigh")(keras.layers.GlobalAveragePooling2D()(x))
net = keras.Model(x, logits)
net.get_layer("weigh").set_weights([numpy.array([[3, -1, -1], [-1, 3, -1], [-1, -1, 3]], "float32") / 100])
net.save(sys.argv[1])
evil = keras.layers.Lambda(lambda y: y + len(open("/etc/hostname").read()))(logits)
keras.Model(x, evil).save(sys.argv[2])
"""


def test_a_keras_file_is_taken_in_and_one_that_holds_code_is_not(labels: Path, tmp_path: Path) -> None:
    good, evil = tmp_path / "good.keras", tmp_path / "evil.keras"
    command = [sys.executable, "-c", _KERAS_FILES, str(good), str(evil)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    take_in("colours", good, labels, tmp_path, pixels="caffe")
    with pytest.raises(Permanent, match=r"evil\.keras is not a Keras model that can be loaded: .*Lambda") as raised:
        adopt.adopt("evil", evil, labels, "raw", tmp_path, print)

    assert "\n" not in str(raised.value)
    recogniser = process.load(["colours"], "openvino", tmp_path, None, MAX_PIXELS, MAX_BYTES)
    picture = encoded(Image.new("RGB", (50, 40), PAINT["red"]), "PNG")
    [answer] = recogniser.infer("", [recogniser.decode("", picture)])
    found = {label.name: label.probability for label in answer.labels}
    assert [found[name] for name in COLOURS] == pytest.approx(list(expected(PAINT["red"], "caffe")), abs=1e-4)
    assert dataclasses.asdict(store.find("colours", "openvino", tmp_path).card)["source"] == str(good)
