"""Reads how the folders of a dataset are arranged: which are classes, and which are parts (train, validation, test).

Three arrangements are known: <class>/, <part>/<class>/ and <class>/<part>/, also inside one folder that an archive
adds. Others are refused with what was seen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inference.photo_folders import class_name, is_leftover, list_files, readable
from inference.training.parts import PARTS, TEST, TRAIN, VALIDATION
from shoal.errors import Permanent

_PART_WORDS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validate": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
_FILLERS = frozenset(["", "data", "images", "image", "imgs", "seg", "split", "the", "x"])
_FOLD = re.compile(r"(fold|split|part|cv)[\W_]*\d+", re.IGNORECASE)  # of a cross-validation
_DETECTION = frozenset(["images", "labels"])  # boxes for YOLO's programs
_SHOWN = 8  # folders in a message


@dataclass(frozen=True, slots=True)
class ClassFolder:
    """A folder with images of one class. part: the part that a folder's name gives to them, or ""."""

    name: str
    path: Path
    part: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of classes, and in words what else was seen."""

    classes: tuple[ClassFolder, ...]
    notes: tuple[str, ...] = ()


def part_of(name: str) -> str:
    """The part that a folder's name stands for (`Training`, `test_set`, `valid`, `seg_train`), or ""."""
    words = [word.removesuffix("set") for word in re.split(r"[\W\d_]+", name.lower())]
    left = [word for word in words if word not in _FILLERS]
    return _PART_WORDS.get(left[0], "") if len(left) == 1 else ""


def read(folder: Path) -> Layout:
    """Read the arrangement of a dataset's folders. Raises Permanent if it cannot be told."""
    inside = subfolders(folder)
    if len(inside) == 1 and not part_of(inside[0].name) and len(subfolders(inside[0])) > 1:
        found = read(inside[0])
        return Layout(found.classes, (f"{readable(inside[0].name)} is the only folder: read from there", *found.notes))
    _check_kind(folder, inside)
    parts = {path: part for path in inside if (part := part_of(path.name))}
    others = [path for path in inside if path not in parts and list_files(path).files]
    if not parts or (others and _is_only_a_class(list(parts))):
        return _classes_outside(folder, inside)
    if others:
        raise Permanent(f"{_cannot_tell(folder, inside)}: move what is not a part out of it, or rename it")
    return _parts_outside(folder, parts)


def _check_kind(folder: Path, inside: list[Path]) -> None:
    """Raise Permanent for datasets of other kinds, whose folders would look like classes."""
    if inside and {path.name.lower() for path in inside} == _DETECTION:
        raise Permanent(f"{_cannot_tell(folder, inside)}: they are for a detector, and shoal train makes classifiers")
    if any(_FOLD.fullmatch(path.name) and subfolders(path) for path in inside):
        raise Permanent(f"{_cannot_tell(folder, inside)}: put the classes of all of them together, or train on one")


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, without hidden ones and those that systems make."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_leftover(path.name))


def _is_only_a_class(parts: list[Path]) -> bool:
    """Whether the only folder with a part's name is `train` with photos in it: the vehicle, among other classes."""
    return len(parts) == 1 and parts[0].name.lower() == "train" and not subfolders(parts[0])


def _parts_outside(folder: Path, parts: dict[Path, str]) -> Layout:
    """<part>/<class>/"""
    found: list[ClassFolder] = []
    notes: list[str] = []
    for path, part in parts.items():
        inner = _innermost(path, part)
        kinds = subfolders(inner)
        _check_kind(inner, kinds)
        found += [ClassFolder(class_name(kind), kind, part) for kind in kinds]
        if not kinds and (count := len(list_files(path).files)):
            notes.append(f"{readable(path.name)} has no folders of classes: its {count} files are not used")
    if not found:
        raise Permanent(f"{_cannot_tell(folder, list(parts))}: make a folder for each class in them")
    if TRAIN not in {kind.part for kind in found}:
        raise Permanent(f"{_cannot_tell(folder, list(parts))}: there is no folder to train on")
    return Layout(tuple(found), (_tell_parts(parts), *notes))


def _innermost(path: Path, part: str) -> Path:
    """Some archives have test_set/test_set/<class> or test/data/<class>."""
    inside = subfolders(path)
    while len(inside) == 1 and (part_of(inside[0].name) == part or len(subfolders(inside[0])) > 1):
        path, inside = inside[0], subfolders(inside[0])
    return path


def _classes_outside(folder: Path, inside: list[Path]) -> Layout:
    """<class>/ or <class>/<part>/"""
    parts = {path: _parts_in(path) for path in inside}
    if not any(parts.values()):
        return Layout(tuple(ClassFolder(class_name(path), path, "") for path in inside))
    if not all(parts.values()):
        raise Permanent(
            f"{_cannot_tell(folder, inside)}: only some of them have folders such as train and test in them"
        )
    found = tuple(ClassFolder(class_name(path), inner, part) for path in inside for inner, part in parts[path].items())
    together = {inner: part for part_folders in parts.values() for inner, part in part_folders.items()}
    return Layout(found, (_tell_parts(together),))


def _parts_in(path: Path) -> dict[Path, str]:
    """The folders of a class that are parts; none if it has other folders or files too, such as vehicles/train."""
    inside = subfolders(path)
    parts = {inner: part for inner in inside if (part := part_of(inner.name))}
    alone = len(parts) == len(inside) and not any(one.is_file() and not is_leftover(one.name) for one in path.iterdir())
    if alone:
        return parts
    if len(parts) > 1:
        raise Permanent(f"{_cannot_tell(path, inside)}: photos beside such folders belong to no part")
    return {}


def _tell_parts(folders: dict[Path, str]) -> str:
    named = {part: sorted({readable(path.name) for path in folders if folders[path] == part}) for part in PARTS}
    there = ", ".join(f"{' and '.join(names)} for {part}" for part, names in named.items() if names)
    missing = [part for part, names in named.items() if not names]
    rest = f"; no folder for {' and '.join(missing)}: images to train on are taken for it" if missing else ""
    return f"the dataset is already split: {there}{rest}"


def _cannot_tell(folder: Path, seen: Sequence[Path]) -> str:
    shown = ", ".join(_describe(path) for path in seen[:_SHOWN])
    more = f" and {len(seen) - _SHOWN} more" if len(seen) > _SHOWN else ""
    return f"cannot tell classes from parts in {readable(folder)}, which has {shown}{more}"


def _describe(path: Path) -> str:
    inside = subfolders(path)
    what = f"{len(inside)} folders" if inside else f"{len(list_files(path).files)} files"
    return f"{readable(path.name)} ({what})"
