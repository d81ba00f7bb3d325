"""The parts of a training that need no TensorFlow: what is found, how it is split, what the figures say."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from inference.training import dataset, features, figures, none_of_these, parts, pictures, report, views
from inference.training.dataset import Arrays, Photos
from inference.training.recipe import Recipe
from shoal.errors import Permanent

RANDOM = np.random.default_rng(0)


def photo(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)


def folder(place: Path, classes: dict[str, int]) -> Path:
    seeds = iter(range(1000))
    for name, count in classes.items():
        for number in range(count):
            photo(place / name / f"{number}.png", next(seeds))
    return place


def decode(payload: bytes) -> NDArray[np.uint8]:
    from inference import images

    return images.open_squashed(payload, 16, 1_000_000).pixels


@given(
    counts=st.lists(st.integers(dataset.LEAST, 60), min_size=2, max_size=6),
    seed=st.integers(0, 99),
    shares=st.tuples(st.floats(0.05, 0.5), st.floats(0.05, 0.5)).filter(lambda pair: sum(pair) <= 0.6),
)
def test_every_class_is_in_every_part_and_every_image_in_one(
    counts: list[int], seed: int, shares: tuple[float, float]
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)

    found = parts.split(labels, [""] * len(labels), seed, *shares)

    assert sorted(np.concatenate(list(found.values()))) == list(range(len(labels)))
    for indices in found.values():
        assert set(labels[indices]) == set(range(len(counts)))
    for name, share in zip((parts.VALIDATION, parts.TEST), shares, strict=True):
        for label, count in enumerate(counts):
            assert abs((labels[found[name]] == label).sum() - share * count) <= 1
    again = parts.split(labels, [""] * len(labels), seed, *shares)
    assert all((again[name] == indices).all() for name, indices in found.items())


def test_a_test_part_that_is_given_is_kept_and_nothing_else_put_in_it() -> None:
    labels = np.array([0] * 10 + [1] * 10)
    given_parts = ["train"] * 7 + ["test"] * 3 + ["train"] * 8 + ["test"] * 2

    found = parts.split(labels, given_parts, 0, 0.2, 0.2)

    assert list(found["test"]) == [7, 8, 9, 18, 19]
    assert len(found["validation"]) == 3
    assert list(parts.split(labels, given_parts, 1, 0.2, 0.2)["validation"]) != list(found["validation"])


# Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
@pytest.mark.parametrize(
    ("right", "images", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(right: int, images: int, low: float, high: float) -> None:
    assert figures.interval(right, images) == pytest.approx((low, high), abs=5e-5)


def test_precision_and_recall_are_of_each_class() -> None:
    found = figures.measure(("a", "b", "c"), np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 1]))
    assert "fewer than 10 test photos a class" in figures.too_few(found)
    assert "(a 3, b 2, c 0)" in figures.too_few(found)
    enough = np.repeat(np.arange(2), 10)
    assert figures.too_few(figures.measure(("a", "b"), enough, enough)) == ""

    assert found.accuracy == 0.8
    assert found.confusion == ((2, 1, 0), (0, 2, 0), (0, 0, 0))
    assert [(one.precision, one.recall, one.images) for one in found.classes] == [
        (1.0, pytest.approx(2 / 3), 3),
        (pytest.approx(2 / 3), 1.0, 2),
        (None, None, 0),
    ]


def test_folders_are_classes(tmp_path: Path) -> None:
    folder(tmp_path, {"dog": 6, "cat": 5, ".hidden": 3})
    (tmp_path / "readme.txt").write_text("not a class")
    (tmp_path / "cat" / ".DS_Store").write_text("not a photo")

    found = dataset.find(tmp_path)

    assert isinstance(found, Photos)
    assert found.classes == ("cat", "dog")
    assert [path.parent.name for path in found.paths] == ["cat"] * 5 + ["dog"] * 6
    assert found.labels == (0,) * 5 + (1,) * 6


def test_folders_called_train_and_test_are_parts_and_not_classes(tmp_path: Path) -> None:
    folder(tmp_path / "train", {"cat": 5, "dog": 5})
    folder(tmp_path / "test", {"cat": 2, "dog": 2})

    found = dataset.find(tmp_path)

    assert found.classes == ("cat", "dog")
    assert sorted(found.given) == ["test"] * 4 + ["train"] * 10


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ({}, "no classes"),
        ({"cat": 9}, "one class only \\(cat\\)"),
        ({"cat": 9, "dog": 4, "owl": 0}, "too few images .*: dog \\(4\\); a class needs at least 5"),
    ],
)
def test_a_folder_that_cannot_be_learned_from_says_why(tmp_path: Path, classes: dict[str, int], said: str) -> None:
    with pytest.raises(Permanent, match=said):
        dataset.find(folder(tmp_path, classes))


def test_a_dataset_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match=r"there is no .*nowhere"):
        dataset.find(tmp_path / "nowhere")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(Permanent, match="neither a folder of photos nor"):
        dataset.find(tmp_path / "a.txt")


def test_arrays_are_read_as_they_are_and_refused_when_they_are_odd(tmp_path: Path) -> None:
    images = RANDOM.integers(0, 256, (40, 28, 28), dtype=np.uint8)
    labels = np.arange(40) % 4
    file = tmp_path / "a.npz"
    np.savez(file, x_train=images[:30], y_train=labels[:30], x_test=images[30:], y_test=labels[30:, np.newaxis])

    found = dataset.find(file)
    assert isinstance(found, Arrays)
    opened = pictures.open_arrays(found, 28, tmp_path / "pixels.npy", lambda done, of: None)

    assert (found.classes, found.side) == (("0", "1", "2", "3"), 28)
    assert (opened.pixels == images[..., np.newaxis]).all()
    assert (opened.labels == labels).all()
    assert (opened.given.count("train"), opened.given.count("test")) == (30, 10)
    np.savez(file, x_train=images.astype(float), y_train=labels)
    with pytest.raises(Permanent, match="x_train must be uint8"):
        dataset.find(file)
    np.savez(file, x_train=images, y_train=labels[:-1])
    with pytest.raises(Permanent, match="y_train must be one whole number an image"):
        dataset.find(file)
    file.write_text("not a zip")
    with pytest.raises(Permanent, match=r"is not a .npz file"):
        dataset.find(file)


def test_what_cannot_be_read_or_is_there_twice_is_skipped_by_name(tmp_path: Path) -> None:
    place = folder(tmp_path / "in", {"cat": 6, "dog": 6})
    (place / "cat" / "0.png").write_text("no photo")
    (place / "dog" / "9.png").write_bytes((place / "cat" / "3.png").read_bytes())
    found = dataset.find(place)
    assert isinstance(found, Photos)

    opened = pictures.open_photos(found, decode, 16, 1_000_000, tmp_path / "pixels.npy", lambda done, of: None)

    assert len(opened.pixels) == len(opened.labels) == len(opened.names) == 11
    assert opened.names[:2] == ("cat/1.png", "cat/2.png")
    assert (opened.pixels[0] == decode((place / "cat" / "1.png").read_bytes())).all()
    assert [name for name, _ in opened.skipped] == ["cat/0.png", "dog/9.png"]
    assert "not an image" in opened.skipped[0][1]
    assert opened.skipped[1][1] == "shows the same as cat/3.png"


def test_features_are_computed_once_and_are_the_same_whatever_is_asked_with_them(tmp_path: Path) -> None:
    pixels = RANDOM.integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    seen: list[int] = []

    def run(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(len(batch))
        return batch.reshape(len(batch), -1)[:, :7].astype(np.float32)

    def compute(wanted: list[tuple[int, int]]) -> NDArray[np.float32]:
        return features.compute(pixels, wanted, "mirror", run, tmp_path / "kept.npz", lambda done, of: None)

    first = compute([(0, 0), (0, 1), (1, 0)])
    again = compute([(0, 0), (0, 1), (1, 0)])
    more = compute([(4, 0), (0, 1)])

    assert seen == [3, 1]
    assert (first == again).all()
    assert (first[1] == more[1]).all()
    assert not (first[0] == first[1]).all()
    (tmp_path / "kept.npz").write_bytes(b"damaged")
    assert (compute([(0, 0)])[0] == first[0]).all()


@pytest.mark.parametrize("kind", views.KINDS)
def test_views_keep_the_shape_and_depend_on_the_generator_alone(kind: str) -> None:
    pixels = RANDOM.integers(0, 256, (32, 32, 3), dtype=np.uint8)

    one, same, other = (views.view(kind, pixels, np.random.default_rng(seed)) for seed in (1, 1, 2))

    assert one.shape == pixels.shape
    assert one.dtype == np.uint8
    assert (one == same).all()
    assert (one == other).all() == (kind == "none")


def test_a_shift_moves_the_image_by_an_eighth_at_most() -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[16, 16] = 255

    places = {
        tuple(int(at[0]) for at in np.nonzero(views.view("shift", pixels, np.random.default_rng(seed))[..., 0]))
        for seed in range(200)
    }

    assert {row for row, _ in places} == {column for _, column in places} == set(range(12, 21))


def test_the_report_says_it_all(tmp_path: Path) -> None:
    found = figures.measure(("cat|dog", "<owl>"), np.array([0] * 8 + [1] * 2), np.array([0] * 7 + [1] * 3))
    epochs = [{"loss": 1.0, "accuracy": 0.5, "val_loss": 0.9, "val_accuracy": 0.6}] * 3
    mistakes = (report.Mistake("cat/7.jpg", "cat|dog", "<owl>", 0.61),)
    stages = ({"stage": "the head", "epochs": epochs, "best": 2},)

    counts = {"cat|dog": (30, 6, 8), "<owl>": (5, 1, 2)}
    wrong = [(report.Mistake("owl/$1.jpg", "<owl>", "cat|dog", 0.9), np.full((8, 8, 3), 90, np.uint8))] * 30
    skipped = (("a.txt", "no image"),)
    none = none_of_these.NoneOfThese(0.05, 30, 0.5512, 10, 2, 1)
    made = report.TrainingReport("mine", (("seed", "0"),), counts, found, stages, mistakes, skipped, none)
    made.write(tmp_path, wrong)

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "confusion.png", "loss.png", "metrics.json", "report.html", "report.md", "wrong.png",
    ]  # fmt: skip
    text = (tmp_path / "report.md").read_text()
    assert "90.0% of 10 test images right (with 95 % confidence between 59.6% and 98.2%)" in text
    assert "the answer if the best class has less than 55.12%; 2 of 10 test images get it, and 1 of those" in text
    assert "| cat\\|dog | 30 | 6 | 8 | 100% | 88% |" in text
    assert "24 of 30 wrong answers, the surest first" in text
    assert "![The loss of each epoch](loss.png)" in text
    assert "| cat/7.jpg | cat\\|dog | <owl> | 61% |" in text
    assert "the head: 3 epochs; epoch 2 was kept" in text
    page = (tmp_path / "report.html").read_text()
    assert "&lt;owl&gt;" in page
    assert "<owl>" not in page
    numbers = json.loads((tmp_path / "metrics.json").read_text())
    assert numbers["figures"]["confusion"] == [[7, 1], [0, 2]]
    assert (numbers["none_of_these"]["below"], numbers["none_of_these"]["turned_away"]) == (0.5512, 2)
    for name in ("confusion.png", "loss.png", "wrong.png"):
        with Image.open(tmp_path / name) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 50


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "../up"}, "cannot be a model's name"),
        ({"name": "resnet50"}, "one of Shoal's own"),
        ({"name": "a", "test": 0.5, "validation": 0.3}, "too few to learn from"),
        ({"name": "a", "scratch_net": "flat"}, "name one of the two"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(Permanent, match=said):
        Recipe(**fields)  # type: ignore[arg-type]


SPLIT = ["train", "validation", "test"]


@pytest.mark.parametrize(
    ("names", "given_parts"),
    [
        (("train", "valid", "test"), SPLIT),
        (("train", "val"), SPLIT[:2]),
        (("Training", "Testing"), ["train", "test"]),
        (("Train", "Validation"), SPLIT[:2]),
        (("TRAIN",), ["train"]),
        (("training_set", "test_set"), ["train", "test"]),
        (("seg_train/seg_train", "seg_test/seg_test"), ["train", "test"]),
        (("train/data", "test/data"), ["train", "test"]),
        (("X_train", "X_test"), ["train", "test"]),
    ],
)
def test_a_dataset_that_is_already_split_is_understood_and_said(
    tmp_path: Path, names: tuple[str, ...], given_parts: list[str]
) -> None:
    for name in names:
        folder(tmp_path / name, {"circle": 5, "square": 5})
    (tmp_path / "README.txt").write_text("from a well-known place")
    (tmp_path / "__MACOSX").mkdir()

    found = dataset.find(tmp_path)

    assert found.classes == ("circle", "square")
    assert [found.given.count(part) for part in given_parts] == [10] * len(given_parts)
    assert len(found) == 10 * len(given_parts)
    assert found.notes[0].startswith(f"the dataset is already split: {names[0].partition('/')[0]} for train")
    missing = [part for part in SPLIT if part not in given_parts]
    assert all(part in found.notes[0].partition("no folder for")[2] for part in missing)
    assert "1 files outside the folders of classes are not used" in found.notes


@pytest.mark.parametrize("given", [{"a": 5, "b": 5}, {"train/a": 5, "train/b": 5, "test/a": 2, "test/b": 2}])
def test_one_folder_that_an_archive_adds_is_no_class(tmp_path: Path, given: dict[str, int]) -> None:
    folder(tmp_path / "PetImages", given)
    (tmp_path / "readme.txt").write_text("from an archive")

    found = dataset.find(tmp_path)

    assert (found.classes, len(found)) == (("a", "b"), sum(given.values()))
    assert "PetImages is the only folder: read from there" in found.notes


def test_parts_inside_each_class_are_understood(tmp_path: Path) -> None:
    for name in ("circle", "square"):
        folder(tmp_path / name, {"train": 5, "test": 2})

    found = dataset.find(tmp_path)

    assert (found.classes, found.given.count("train"), found.given.count("test")) == (("circle", "square"), 10, 4)


def test_a_train_is_a_vehicle_among_vehicles(tmp_path: Path) -> None:
    assert dataset.find(folder(tmp_path / "a", {"train": 5, "plane": 5})).classes == ("plane", "train")
    nested = folder(tmp_path / "b" / "vehicles", {"train": 5, "plane": 5}).parent
    folder(nested, {"animals": 5})
    assert dataset.find(nested).classes == ("animals", "vehicles")


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        ({"train/a": 5, "train/b": 5, "extra": 2}, r"extra \(2 files\), train \(2 folders\)"),
        ({"test": 5, "a": 5, "b": 5}, r"a \(5 files\), b \(5 files\), test \(5 files\)"),
        ({"train": 5, "test": 5}, "make a folder for each class in them"),
        ({"test/a": 5, "test/b": 5, "val/a": 5}, "there is no folder to train on"),
        ({"images/train": 5, "images/val": 5, "labels/train": 5}, "they are for a detector"),
        ({"train/images": 5, "train/labels": 5, "valid/images": 5}, "they are for a detector"),
        ({"fold1/a": 5, "fold1/b": 5, "fold_2/a": 5, "fold_2/b": 5}, "put the classes of all of them together"),
        ({"a/train": 5, "a/test": 5, "b": 5}, "only some of them have folders such as train and test"),
        ({"a/train": 5, "a/test": 5, "a/more": 5, "b": 5}, "photos beside such folders belong to no part"),
    ],
)
def test_a_layout_that_cannot_be_told_apart_is_refused_with_what_was_seen(
    tmp_path: Path, folders: dict[str, int], said: str
) -> None:
    with pytest.raises(Permanent, match=f"cannot tell classes from parts .*{said}"):
        dataset.find(folder(tmp_path, folders))


def test_an_unlabelled_test_part_is_said_and_not_used(tmp_path: Path) -> None:
    folder(tmp_path, {"train/a": 5, "train/b": 5, "test": 3})

    found = dataset.find(tmp_path)

    assert (len(found), found.classes) == (10, ("a", "b"))
    assert "test has no folders of classes: its 3 files are not used" in found.notes


LEFT_BEHIND = (
    "__MACOSX/._1.png",
    "cat/._1.png",
    "cat/.DS_Store",
    "cat/Thumbs.db",
    "cat/DESKTOP.INI",
    "cat/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg",
    "cat/.thumbnails/1.png",
    "#recycle/old.png",
    ".Trash/2.png",
)


def test_what_systems_leave_behind_is_passed_over_and_counted(tmp_path: Path) -> None:
    folder(tmp_path, {"cat": 5, "dog": 5})
    for name in LEFT_BEHIND:
        photo(tmp_path / name, 1) if name.endswith("png") else (tmp_path / name).parent.mkdir(
            parents=True, exist_ok=True
        )
        (tmp_path / name).touch()

    found = dataset.find(tmp_path)

    assert (found.classes, len(found)) == (("cat", "dog"), 10)
    assert any(note.startswith("passed over 9 hidden or system files and folders") for note in found.notes)


def test_a_class_is_the_same_composed_decomposed_and_in_an_older_encoding(tmp_path: Path) -> None:
    folder(tmp_path / "train", {"K\u00e4fer": 3, "owl": 5})
    folder(tmp_path / "val", {"Ka\u0308fer": 1, "owl": 1})
    folder(tmp_path / "test", {os.fsdecode(b"K\xe4fer"): 2, "owl": 1})

    found = dataset.find(tmp_path)

    assert found.classes == ("K\u00e4fer", "owl")
    assert found.labels.count(0) == 6


def test_names_that_are_not_utf_8_are_readable_in_a_report_and_their_files_are_read(tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(b"Fotos \xfc\x81")
    folder(place, {os.fsdecode(b"K\xe4fer"): 5, "owl": 5})
    (place / "owl" / os.fsdecode(b"\xe9t\xe9.png")).write_text("no photo")
    found = dataset.find(place)
    assert isinstance(found, Photos)

    opened = pictures.open_photos(found, decode, 16, 1_000_000, tmp_path / "pixels.npy", lambda done, of: None)

    assert opened.names[0] == "K\u00e4fer/0.png"
    assert [name for name, _ in opened.skipped] == ["owl/\u00e9t\u00e9.png"]
    with pytest.raises(Permanent, match=r"there is no .*Fotos \u00fc\ufffd"):
        dataset.find(place / "nowhere")
