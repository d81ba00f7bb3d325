"""Training for real: photos and digits in, a model out that the workers of a whole system serve by name."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
from PIL import Image
from sklearn.datasets import load_digits  # type: ignore[import-untyped]

from benchmarks import photos
from benchmarks.running.system import RunningSystem
from inference import store
from shoal.lifecycle import only_one
from shoal.settings import in_force, load
from tests.inference_fixtures import EXAMPLES, ROOT, cache_dir

COMMAND = [sys.executable, "-m", "shoal_cli", "train"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the tests' own, with the real ResNet50 in it."""
    place = tmp_path_factory.mktemp("cache")
    (place / "models").mkdir()
    (place / "models" / "resnet50").symlink_to(cache_dir() / "models" / "resnet50")
    return place


@pytest.fixture(scope="module")
def food(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Food-101: four classes of ten photos, and one file that is none."""
    place = tmp_path_factory.mktemp("food")
    for path in photos.fetch(cache_dir()):
        if "food-101" in path.parts:
            (place / path.parent.name).mkdir(exist_ok=True)
            (place / path.parent.name / path.name).symlink_to(path.resolve())
    (place / "ramen" / "notes.txt").write_text("with egg\n")
    return place


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's digits, 8 x 8; the test ones were written by other people than the others."""
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    file = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(file, x_train=images[:1200], y_train=labels[:1200], x_test=images[1200:], y_test=labels[1200:])
    return file


def train(cache: Path, *options: object, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SHOAL_CACHE_DIR": str(cache), **variables}
    return subprocess.run([*COMMAND, *map(str, options)], cwd=ROOT, env=environment, capture_output=True, text=True)


_LABEL = """
import pathlib, sys
from inference.process import load
cache, name, *paths = sys.argv[1:]
recogniser = load((name,), "openvino", pathlib.Path(cache), None, 50_000_000, 20_000_000)
for path in paths:
    decoded = recogniser.decode(name, pathlib.Path(path).read_bytes())
    best = recogniser.infer(name, [decoded])[0].labels[0]
    print(best.name, best.wordnet_id or "-", best.probability)
assert not {"tensorflow", "keras"} & set(sys.modules)
"""


def label(cache: Path, name: str, *paths: Path) -> list[list[str]]:
    command = [sys.executable, "-c", _LABEL, str(cache), name, *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [line.split() for line in done.stdout.splitlines()]


def metrics(cache: Path, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((cache / "models" / name / "report" / "metrics.json").read_text())
    return found


def test_food_is_learned_and_a_worker_knows_it(cache: Path, food: Path) -> None:
    done = train(cache, "--dataset", food, "--name", "food", "--views", 0)

    print(done.stderr)
    assert done.returncode == 0
    assert "skipped ramen/notes.txt: this is not an image that Shoal can read" in done.stdout
    assert "training on the CPU" in done.stderr or "training on the GPU" in done.stderr
    assert "none of these: not learned: to turn away at most 5% takes 19 validation images" in done.stdout
    figures = metrics(cache, "food")["figures"]
    assert isinstance(figures, dict)
    assert (figures["images"], figures["accuracy"] >= 0.75) == (8, True)
    card = store.ready(cache / "models" / "food" / "openvino")
    assert card is not None
    assert card.source.startswith("trained on 24 images of 4 classes in ")
    assert card.agreement["float32"]["same_label"] == card.agreement["photos"] == 8
    ramen, burger = (sorted((food / name).glob("*.jpg"))[0] for name in ("ramen", "hamburger"))
    assert [found[:2] for found in label(cache, "food", ramen, burger)] == [["ramen", "-"], ["hamburger", "-"]]
    # It stays until it is told to go, and what the backbone saw is kept for the next time.
    again = train(cache, "--dataset", food, "--name", "food")
    assert (again.returncode, again.stderr) == (
        1, "shoal: there is a model food already: choose another name, or replace it (--replace)\n",
    )  # fmt: skip
    assert (cache / "training" / "food" / "features.npz").is_file()


DIGITS = ("--from-scratch", "flat", "--side", 8, "--grey", "--epochs", 12)


@pytest.fixture(scope="module")
def learned(cache: Path, digits: Path) -> Path:
    """The cache, with a small net for the digits in it."""
    done = train(cache, "--dataset", digits, "--name", "digits", *DIGITS)
    print(done.stderr)
    assert done.returncode == 0
    return cache


def test_a_small_net_learns_digits_and_the_same_seed_gives_the_same_net(learned: Path, digits: Path) -> None:
    again = train(learned, "--dataset", digits, "--name", "digits-again", *DIGITS)

    assert again.returncode == 0
    figures = metrics(learned, "digits")["figures"]
    assert isinstance(figures, dict)
    assert figures["images"] == 597
    assert figures["accuracy"] > 0.8  # chance is 0.1
    none = metrics(learned, "digits")["none_of_these"]
    assert isinstance(none, dict)
    # The test digits were written by other people, so more of them than 5 % may be turned away.
    assert (none["tested"], none["turned_away_right"] < 0.2 * 597) == (597, True)
    assert 0.1 < none["below"] == store.model("digits", learned).none_below < 1
    assert metrics(learned, "digits")["stages"] == metrics(learned, "digits-again")["stages"]


def test_a_finished_training_is_not_lost_to_its_report(cache: Path, digits: Path, tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError('nothing draws here')\n")

    paths = {"PYTHONPATH": str(tmp_path), "SHOAL_STATE_DIR": str(tmp_path)}
    with only_one(tmp_path / in_force.LOCK, "busy"):  # as a controller whose workers serve another model besides
        in_force.of(replace(load(), models="ssd_mobilenet_v2"), 1).write(tmp_path)
        done = train(cache, "--dataset", digits, "--name", "unreported", *DIGITS[:-1], 1, **paths)

    print(done.stderr)
    assert done.returncode == 0
    assert "unreported: " in done.stdout
    assert "to serve it: SHOAL_MODELS=ssd_mobilenet_v2,unreported shoal up" in done.stdout
    assert "the model is kept, but its report could not be written: the child process ended early" in done.stderr
    assert store.ready(cache / "models" / "unreported" / "openvino") is not None
    assert not (cache / "models" / "unreported" / "report").exists()


def test_the_workers_of_a_system_serve_it_by_name(learned: Path, digits: Path, tmp_path: Path) -> None:
    with np.load(digits) as arrays:
        images, labels = arrays["x_test"][:40], arrays["y_test"][:40]
    files = []
    for number, image in enumerate(images):
        out = io.BytesIO()
        Image.fromarray(image).save(out, "PNG")
        files.append(("inputFile", (f"{number}.png", out.getvalue())))
    system = RunningSystem(tmp_path / "state", CACHE_DIR=learned, MODELS="digits", PRECISION="float32", MAX_INSTANCES=1)
    system.start()
    try:
        cat = [("inputFile", ("cat.jpg", (EXAMPLES / "cat.jpg").read_bytes()))]

        found = ask(system, "digits", files)
        usual = ask(system, "", cat)
        unknown = requests.post(f"{system.address}/v1/batches?model=food", files=cat, timeout=30)
    finally:
        assert system.stop() == 0

    said = [photo["labels"][0]["name"] for photo in found]
    assert np.mean([name == str(label) for name, label in zip(said, labels, strict=True)]) > 0.8
    assert {photo["model"] for photo in found} == {"digits"}
    assert (usual[0]["labels"][0]["name"], usual[0]["model"]) == ("Egyptian_cat", "resnet50")
    assert unknown.status_code == 400
    assert "food" in unknown.text


def ask(system: RunningSystem, model: str, files: list[Any]) -> list[dict[str, Any]]:
    """Every photo with its labels, in the order that they were sent in."""
    where = f"{system.address}/v1/batches" + (f"?model={model}" if model else "")
    answer = requests.post(where, files=files, headers={"Prefer": "wait=60"}, timeout=120)
    assert answer.ok, answer.text
    found: list[dict[str, Any]] = answer.json()["photos"]
    return found


def test_a_stop_by_the_keyboard_leaves_nothing(cache: Path, food: Path) -> None:
    environment = {**os.environ, "SHOAL_CACHE_DIR": str(cache)}
    options = [*COMMAND, "--dataset", str(food), "--name", "stopped"]
    command = subprocess.Popen(options, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    assert command.stderr is not None
    assert command.stderr.readline() == "starting TensorFlow\n"
    children = psutil.Process(command.pid).children(recursive=True)

    command.send_signal(signal.SIGINT)
    rest = command.communicate(timeout=60)[1]

    assert command.returncode == 130
    assert rest.endswith("stopped: nothing was changed\n")
    assert len(children) == 1
    assert psutil.wait_procs(children, timeout=30)[1] == []
    assert not (cache / "models" / "stopped").exists()
    assert [path.name for path in (cache / "training" / "stopped").iterdir()] == ["lock"]


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--dataset", "nowhere"], 1, "shoal: there is no nowhere\n"),
        (["--dataset", str(EXAMPLES / "small")], 1, f"shoal: {EXAMPLES / 'small'} has no classes"),
        (["--dataset", "nowhere", "--name", "resnet50"], 1, "one of Shoal's own models"),
        (["--dataset", "food", "--backbone", "ssd_mobilenet_v2"], 1, "does not classify, so it cannot be a backbone"),
        ([], 2, "Missing option '--dataset'"),
        (["--dataset", "nowhere", "--from-scratch", "vgg"], 2, "'vgg' is not one of 'flat', 'resnet_small'"),
    ],
)
def test_what_is_wrong_is_one_line_and_a_status(
    cache: Path, food: Path, options: list[str], status: int, said: str
) -> None:
    done = train(cache, *(str(food) if word == "food" else word for word in options))

    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
