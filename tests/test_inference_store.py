"""The cache: what is found in it, what is not, and what is noticed to be wrong."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from inference import model as models
from inference import store
from inference.arithmetic import FLOAT32
from shoal.errors import NotFound, SettingsError
from tests.inference_fixtures import cache_dir

RESNET = models.by_name("resnet50")


def put(folder: Path, model: str = "resnet50", engine: str = "openvino", own_file: tuple[int, ...] = ()) -> store.Card:
    """A whole folder of the cache, but for its content."""
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"12345")
    files = store.describe(folder)
    card = store.Card(model, engine, "here", "sha256:0", "MIT", files, {}, "2026-01-01", {}, own_file)
    card.write(folder)
    return card


def test_what_was_prepared_is_found(tmp_path: Path) -> None:
    card = put(tmp_path / "models" / "resnet50" / "openvino")

    artefact = store.find("resnet50", "openvino", tmp_path)

    assert artefact.card == card
    assert (artefact.model, artefact.engine, artefact.notice) == (RESNET, "openvino", "")


def test_what_was_not_prepared_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="run `shoal models prepare`"):
        store.find("resnet50", "openvino", tmp_path)


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        NotFound, match=r"resnet5 is none of .*resnet50.*: run `shoal models prepare`.* mean resnet50 or"
    ):
        store.find("resnet5", "openvino", tmp_path)
    with pytest.raises(SettingsError, match=r"'Resnet5' is not one of the models: .*mobilenet_v2, .* mean resnet50 or"):
        store.find("Resnet5", "openvino", tmp_path)  # which could be no name of keras.applications
    (tmp_path / "models" / "fish").mkdir(parents=True)
    (tmp_path / "models" / "fish" / "model.json").touch()
    with pytest.raises(NotFound, match=r"Did you mean fish\?"):
        store.find("fisch", "openvino", tmp_path)


@pytest.mark.parametrize("damage", ["gone", "short", "no card", "half a card", "card of another format"])
def test_what_is_not_whole_is_not_found(damage: str, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "resnet50" / "openvino"
    put(folder)
    card = folder / store.CARD
    do: dict[str, Callable[[], object]] = {
        "gone": (folder / "model.bin").unlink,
        "short": lambda: (folder / "model.bin").write_bytes(b"1234"),
        "no card": card.unlink,
        "half a card": lambda: card.write_text(card.read_text()[:100]),
        "card of another format": lambda: card.write_text(card.read_text().replace('"format": 1', '"format": 99')),
    }
    do[damage]()

    with pytest.raises(NotFound):
        store.find("resnet50", "openvino", tmp_path)
    assert list(store.prepared(tmp_path)) == []


def test_a_changed_byte_is_damage(tmp_path: Path) -> None:
    folder = tmp_path / "openvino"
    card = put(folder)
    assert store.damaged(folder, card) == []

    (folder / "model.bin").write_bytes(b"12346")

    assert store.damaged(folder, card) == ["model.bin"]


def test_own_weights_have_a_place_of_their_own_and_are_found_until_they_change(tmp_path: Path) -> None:
    weights = tmp_path / "mine.h5"
    weights.write_bytes(b"weights")
    place = store.model_folder(RESNET, tmp_path, weights)
    put(place / "openvino", own_file=store.fingerprint(weights))
    assert place != store.model_folder(RESNET, tmp_path, None)
    assert store.find("resnet50", "openvino", tmp_path, weights).folder == place / "openvino"

    os.utime(weights, ns=(1, 1))

    with pytest.raises(NotFound):
        store.find("resnet50", "openvino", tmp_path, weights)
    with pytest.raises(NotFound):
        store.find("resnet50", "openvino", tmp_path)


def test_a_stand_in_is_found_and_says_that_it_is_one(tmp_path: Path) -> None:
    put(tmp_path / "models" / "mobilenet_v2" / "openvino", model="mobilenet_v2")
    (tmp_path / "models" / "resnet50").mkdir()
    store.write_stand_in(tmp_path / "models" / "resnet50", "mobilenet_v2", "no npm")

    artefact = store.find("resnet50", "openvino", tmp_path)

    assert artefact.model.name == "mobilenet_v2"
    assert artefact.notice.startswith("this is MobileNetV2, not ResNet50, whose weights are not available (no npm)")
    assert [home.name for home, _ in store.stand_ins(tmp_path)] == ["resnet50"]


def test_the_real_thing_is_found_before_its_stand_in(tmp_path: Path) -> None:
    put(tmp_path / "models" / "resnet50" / "openvino")
    store.write_stand_in(tmp_path / "models" / "resnet50", "mobilenet_v2", "no npm")

    assert store.find("resnet50", "openvino", tmp_path).notice == ""


def test_unfinished_folders_are_not_listed(tmp_path: Path) -> None:
    put(tmp_path / "models" / "resnet50" / "openvino")
    put(tmp_path / "models" / "resnet50" / ".scratch-1" / "openvino")
    put(tmp_path / "models" / "resnet50" / ".hidden")

    assert [folder.name for folder, _ in store.prepared(tmp_path)] == ["openvino"]


def test_a_finished_folder_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    for name, text in (("home", "old"), ("scratch", "new")):
        (tmp_path / name / "openvino").mkdir(parents=True)
        (tmp_path / name / "openvino" / "file").write_text(text)

    store.put_in_place(tmp_path / "scratch" / "openvino", tmp_path / "home" / "openvino")

    assert (tmp_path / "home" / "openvino" / "file").read_text() == "new"


def test_the_real_card_tells_where_the_model_comes_from() -> None:
    card = store.find("resnet50", "openvino", cache_dir(), precision=FLOAT32).card

    assert card.source
    assert card.checksum.startswith(("sha512-", "sha256:"))
    assert "MIT" in card.licence
    assert {"keras", "tensorflow", "openvino", "numpy"} <= set(card.versions)
    assert card.size > 100_000_000
    assert card.agreement["float32"]["same_label"] == card.agreement["photos"] >= 8
    assert card.agreement["float32"]["max_difference"] < 1e-4
    json.dumps(dataclasses.asdict(card))


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2"])
def test_there_is_a_name_and_a_wordnet_id_for_each_of_1000_classes(name: str) -> None:
    labels = models.labels(models.by_name(name).labels)

    assert len(labels) == len({wordnet_id for wordnet_id, _ in labels}) == 1000
    assert labels[0] == ("n01440764", "tench")
    assert labels[285] == ("n02124075", "Egyptian_cat")
    assert labels[585] == ("n03476991", "hair_spray")
    assert labels[999] == ("n15075141", "toilet_tissue")
