"""What a person names as a dataset, a model or labels and is no such file: devices, pipes, gigabytes of nothing."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference import user_files
from inference.preparing import adopt
from inference.training import dataset, pictures
from shoal.errors import Permanent
from tests.inference_fixtures import ROOT, encoded

DEADLINE_SECONDS = 60.0
GIGABYTES = 8 * 1024**3


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(GIGABYTES)


TRAPS = [(device, "not a regular file"), (pipe, "not a regular file"), (sparse, "8.0 GB")]
traps = pytest.mark.parametrize(("trap", "reason"), TRAPS)


@traps
def test_a_trap_is_not_read(trap: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    trap(tmp_path / "trap")
    with pytest.raises(Permanent, match=reason):
        user_files.read(tmp_path / "trap", user_files.MODEL_BYTES)


def test_a_file_is_read_and_one_that_grows_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert user_files.read(path, 5) == b"12345"
    with user_files.opened(path, 5) as file, path.open("ab") as more:
        more.write(bytes(1000))
        more.flush()
        assert len(file.read(6)) == 6
    with pytest.raises(Permanent, match="not a regular file"):
        user_files.read(tmp_path, 5)


@traps
def test_a_model_or_labels_that_are_a_trap(trap: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    good, labels = tmp_path / "good.onnx", tmp_path / "labels.txt"
    good.write_bytes(b"a net")
    labels.write_text("red\ngreen\n")
    trap(tmp_path / "trap.onnx")
    with pytest.raises(Permanent, match=reason):
        adopt.adopt("mine", tmp_path / "trap.onnx", labels, "raw", tmp_path / "cache", print)
    with pytest.raises(Permanent, match=reason):
        adopt.adopt("mine", good, tmp_path / "trap.onnx", "raw", tmp_path / "cache", print)
    assert not (tmp_path / "cache" / "models" / "mine").exists()


@traps
def test_a_dataset_that_is_a_trap(trap: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    trap(tmp_path / "trap.npz")
    with pytest.raises(Permanent, match=f"{reason}|neither a folder"):
        dataset.find(tmp_path / "trap.npz")


@traps
def test_a_trap_among_the_photos_is_skipped_and_named(
    trap: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    colours = ("red", "blue")
    for colour in colours:
        (tmp_path / "photos" / colour).mkdir(parents=True)
        for number in range(5):
            photo = Image.new("RGB", (20 + number, 20), colour)
            (tmp_path / "photos" / colour / f"{number}.png").write_bytes(encoded(photo, "PNG"))
    trap(tmp_path / "photos" / "red" / "trap.jpg")
    found = dataset.find(tmp_path / "photos")
    assert isinstance(found, dataset.Photos)

    def decode(payload: bytes) -> np.ndarray:
        return np.frombuffer(payload[:48].ljust(48), np.uint8).reshape(4, 4, 3)

    opened = pictures.open_photos(found, decode, 4, 1_000_000, tmp_path / "pixels", lambda at, of: None)
    [told] = [why for name, why in opened.skipped if name == "red/trap.jpg"]
    assert reason in told


def test_a_small_dataset_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_files, "DATASET_BYTES", 1_000_000)
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        array = io.BytesIO()
        np.save(array, np.zeros((1000, 32, 32, 3), np.uint8))
        packed.writestr("x_train.npy", array.getvalue())
    assert path.stat().st_size < 100_000
    with pytest.raises(Permanent, match="unpacks to"):
        dataset.find(path)


def test_the_commands_end_at_once_and_say_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "labels.txt").write_text("red\ngreen\n")
    sparse(tmp_path / "large.npz")
    environment = {**os.environ, "SHOAL_CACHE_DIR": str(tmp_path / "cache")}
    for words, reason in (
        (["models", "add", "mine", "pipe.onnx", "--labels", "labels.txt", "--pixels", "raw"], "not a regular file"),
        (["train", "--dataset", "large.npz", "--name", "mine"], "8.0 GB"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "shoal_cli", *words], cwd=tmp_path, env=environment | {"PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode != 0
        assert reason in done.stdout + done.stderr
