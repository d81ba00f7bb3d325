"""Models on their way into an image: the answers that `ami/pack-worker` notes, and `ami/bake` compares."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from app_tier.image.__main__ import main
from app_tier.image.carried import Carried, check, record
from app_tier.image.early import load_and_wait
from benchmarks.running import stub_engine
from inference import store
from inference.arithmetic import FLOAT32
from shoal import settings
from shoal.errors import Permanent
from shoal.lifecycle import StopSignal
from tests.inference_fixtures import EXPECTED, PHOTOS, cache_dir
from tests.small_cut import CUT, MODEL, TAIL, make_small_cut

PHOTO = PHOTOS[1]


@pytest.fixture
def chosen(tmp_path: Path) -> settings.Settings:
    """Settings with a cache of their own that has the float32 of ResNet50, as it is carried."""
    source, target = cache_dir() / "models" / "resnet50", tmp_path / "cache" / "models" / "resnet50"
    shutil.copytree(source / "openvino", target / "openvino", ignore=shutil.ignore_patterns("compiled-*", "*.bin"))
    os.link(source / "openvino" / "model.bin", target / "openvino" / "model.bin")
    return replace(settings.load(), cache_dir=tmp_path / "cache", model="resnet50", models="")


def test_what_was_carried_whole_labels_as_at_home(chosen: settings.Settings, tmp_path: Path) -> None:
    noted = record(chosen, ["resnet50"], [], carried_photo(tmp_path))
    assert noted.answers == {f"resnet50 {FLOAT32}": {PHOTO.name: EXPECTED[PHOTO.name]}}
    noted.write(tmp_path)
    assert Carried.read(tmp_path) == replace(noted, tails=[])

    [line] = check(chosen, noted, tmp_path)

    assert line == "resnet50 in float32 is whole and labels 1 of 1 photos as where it was prepared"


def test_tails_are_carried_with_what_their_heads_made_of_the_photos(
    chosen: settings.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_small_cut(chosen.cache_dir)
    folder = carried_photo(tmp_path)
    for name, value in {"CACHE_DIR": str(chosen.cache_dir), "MODEL": "resnet50", "TAILS": TAIL}.items():
        monkeypatch.setenv(f"SHOAL_{name}", value)
    assert main(["record", str(folder)]) == 0
    assert capsys.readouterr().out == f"resnet50 {TAIL}\n"
    noted = Carried.read(folder)
    assert (noted.models, noted.tails) == (["resnet50"], [TAIL])
    assert noted.answers[f"{TAIL} {FLOAT32}"][PHOTO.name]
    for name in ("TAILS", "MODEL"):
        monkeypatch.delenv(f"SHOAL_{name}")
    shutil.rmtree(store.part_folder(MODEL, CUT, store.HEAD, chosen.cache_dir))  # it is not carried

    assert main(["check", str(folder)]) == 0

    said = capsys.readouterr().out
    assert f"{TAIL} in float32 is whole and labels 1 of 1 photos as where it was prepared" in said
    assert f"{TAIL} labels {PHOTO.name} in " in said


def carried_photo(folder: Path) -> Path:
    """The folder, with the photo in it as it is carried."""
    (folder / "photos").mkdir()
    os.link(PHOTO, folder / "photos" / PHOTO.name)
    return folder


def test_other_answers_and_damaged_files_are_refused(chosen: settings.Settings, tmp_path: Path) -> None:
    carried_photo(tmp_path)
    other = Carried("openvino", ["resnet50"], {f"resnet50 {FLOAT32}": {PHOTO.name: "a_dog"}})
    with pytest.raises(Permanent, match="labels 0 of 1 photos as it did where it was prepared"):
        check(chosen, other, tmp_path)
    net = chosen.cache_dir / "models" / "resnet50" / "openvino" / "model.xml"
    net.write_text(net.read_text().replace("a", "e"))  # as long as before
    with pytest.raises(Permanent, match=r"resnet50 in float32 was damaged on its way: model\.xml"):
        check(chosen, other, tmp_path)


def test_models_are_loaded_before_the_settings_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub_engine.prepare(tmp_path / "cache")
    image = {"CACHE_DIR": str(tmp_path / "cache"), "ENGINE": stub_engine.NAME, "MODEL": "resnet50", "PREFIX": "none"}
    for name, value in image.items():
        monkeypatch.setenv(f"SHOAL_{name}", value)
    file = tmp_path / "worker.env"
    with ThreadPoolExecutor(1) as aside:
        loading = aside.submit(load_and_wait, file, StopSignal())
        draft = tmp_path / "draft"
        draft.write_text("SHOAL_PREFIX='my-shoal'\nSHOAL_MODEL=resnet50\n")
        draft.rename(file)
        loaded = loading.result(60)
    assert loaded is not None
    chosen = settings.load()
    assert chosen.prefix == "my-shoal"
    assert loaded.serves(chosen)
    assert not loaded.serves(replace(chosen, models="mobilenet_v2"))


def test_models_that_cannot_be_loaded_early_wait_for_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_CACHE_DIR", str(tmp_path))
    stop = StopSignal()
    stop.stop("no settings come")
    assert load_and_wait(tmp_path / "worker.env", stop) is None


def test_the_program_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path)]) == 1
    assert "make it again with ami/pack-worker" in capsys.readouterr().err
    (tmp_path / "answers.json").write_text(json.dumps({"engine": "openvino"}))
    assert main(["check", str(tmp_path)]) == 1
