"""What an engine compiled is kept beside its artefact, whole, and never for another machine or set of options."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from inference import engines, store
from inference.arithmetic import FLOAT32
from inference.engines import _compiled
from inference.engines._compiled import MOST_ENDS, SUMS, compiled_folder
from shoal.errors import Permanent
from tests.inference_fixtures import cache_dir

ROOT = Path(__file__).parent.parent


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    (tmp_path / store.CARD).write_text("{}")
    return tmp_path


def test_the_second_process_finds_what_the_first_made(artefact: Path) -> None:
    with compiled_folder(artefact, "1.0", "a processor") as first:
        assert first
        (first / "blob").write_text("compiled")
    with compiled_folder(artefact, "1.0", "a processor") as second:
        assert second
        assert (second / "blob").read_text() == "compiled"
    with compiled_folder(artefact, "1.1", "a processor") as other:
        assert other
        assert not list(other.iterdir())


def test_whoever_may_read_the_artefact_may_read_what_is_kept(artefact: Path) -> None:
    artefact.chmod(0o755)
    with compiled_folder(artefact, "1.0") as place:
        assert place
        assert place.stat().st_mode & 0o777 == 0o700  # nobody else reads half a file
    [kept] = [path for path in artefact.iterdir() if path.is_dir()]
    assert kept.stat().st_mode & 0o777 == 0o755


def test_many_at_once_leave_one_whole_folder(artefact: Path) -> None:
    together = Barrier(8)

    def compile_it(_: int) -> None:
        with compiled_folder(artefact, "1.0") as place:
            together.wait(20)
            assert place
            (place / "blob").write_text("compiled")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(compile_it, range(8)))
    [kept] = [path for path in artefact.iterdir() if path.is_dir()]
    assert {path.name for path in kept.iterdir()} == {"blob", SUMS}
    assert (kept / "blob").read_text() == "compiled"


def test_nothing_is_kept_of_an_artefact_in_the_making_or_after_a_fault(tmp_path: Path) -> None:
    with compiled_folder(tmp_path, "1.0") as place:
        assert place is None
    (tmp_path / store.CARD).write_text("{}")
    with compiled_folder(tmp_path / "gone", "1.0") as place:
        assert place is None
    with pytest.raises(RuntimeError), compiled_folder(tmp_path, "1.0"):
        raise RuntimeError("the compiler broke")
    assert [path.name for path in tmp_path.iterdir()] == [store.CARD]


def enter_and_end(artefact: Path, status: int = 134) -> None:
    """A process that ends inside the block, as one does that an engine aborts."""
    script = (
        "import os, sys; from pathlib import Path; from inference.engines._compiled import compiled_folder\n"
        f"with compiled_folder(Path({str(artefact)!r}), '1.0') as place: os._exit({status})"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == status


def make(artefact: Path, text: str) -> str:
    """Read what is kept, or keep `text`."""
    with compiled_folder(artefact, "1.0") as place:
        assert place
        blob = place / "blob"
        if not blob.exists():
            blob.write_text(text)
        return blob.read_text()


def test_what_ended_a_process_that_read_it_is_made_again(artefact: Path) -> None:
    assert make(artefact, "damaged") == make(artefact, "good") == "damaged"
    enter_and_end(artefact)
    assert make(artefact, "good") == make(artefact, "other") == "good"
    assert {path.name.partition("-")[0] for path in artefact.iterdir()} == {store.CARD, "compiled"}


def test_what_has_changed_is_made_again(artefact: Path) -> None:
    assert make(artefact, "good") == "good"
    [kept] = artefact.glob("compiled-*")
    (kept / "blob").write_text("goXd")
    assert make(artefact, "made anew") == make(artefact, "other") == "made anew"
    for broken in ("[]", "{", '{"gone": 1}'):
        (kept / SUMS).write_text(broken)
        assert make(artefact, broken) == broken
    (kept / SUMS).unlink()  # as an earlier version left it
    assert make(artefact, "good") == "good"


def test_what_a_process_reads_now_is_not_made_again(artefact: Path) -> None:
    make(artefact, "good")
    with compiled_folder(artefact, "1.0") as place:
        assert place
        assert make(artefact, "other") == "good"
        assert (place / "blob").exists()


def test_an_engine_that_ends_processes_also_when_it_compiles_anew_is_said_once(artefact: Path) -> None:
    make(artefact, "damaged")
    for _ in range(1 + MOST_ENDS):
        enter_and_end(artefact)
    with pytest.raises(Permanent, match=f"the engine ended {MOST_ENDS} processes while it compiled"):
        make(artefact, "")
    assert make(artefact, "good") == "good"


def refuse(*_: object) -> None:
    raise PermissionError


@pytest.mark.parametrize("may_remove", [True, False])
def test_what_cannot_be_read_is_made_again_and_not_given_to_the_engine(
    artefact: Path, monkeypatch: pytest.MonkeyPatch, may_remove: bool
) -> None:
    make(artefact, "of another user")
    read = _compiled._sum

    def refuse_what_is_of_another(path: Path) -> int:
        if path.read_text() == "of another user":
            raise PermissionError
        return read(path)

    monkeypatch.setattr(_compiled, "_sum", refuse_what_is_of_another)
    if not may_remove:
        monkeypatch.setattr(Path, "rename", refuse)
    assert make(artefact, "own") == "own"
    assert make(artefact, "again") == ("own" if may_remove else "again")


def test_a_model_from_its_compiled_form_says_the_same(tmp_path: Path) -> None:
    found = store.find("resnet50", "openvino", cache_dir(), precision=FLOAT32)
    folder = tmp_path / "openvino"
    folder.mkdir()
    for name in (store.CARD, *found.card.files):
        shutil.copy(found.folder / name, folder / name)
    pictures = np.random.default_rng(1).integers(0, 256, (3, 224, 224, 3), np.uint8)
    openvino = engines.by_name("openvino")
    [compiled] = openvino.load(found.model, folder).infer(pictures)
    assert list(folder.glob("compiled-*/*.blob"))
    [again] = openvino.load(found.model, folder).infer(pictures)
    assert np.array_equal(compiled, again)
    [blob] = folder.glob("compiled-*/*.blob")
    damaged = bytearray(blob.read_bytes())
    middle = slice(len(damaged) // 2, len(damaged) // 2 + 4096)
    damaged[middle] = bytes(4096)
    blob.chmod(0o600)
    blob.write_bytes(damaged)
    [again] = openvino.load(found.model, folder).infer(pictures)
    assert np.array_equal(compiled, again)
    assert blob.read_bytes()[middle] != bytes(4096)
    assert not store.damaged(folder, found.card)
