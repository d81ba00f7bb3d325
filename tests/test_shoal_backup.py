"""`shoal backup` and `restore`: what is kept, while it changes too; a hostile or damaged archive changes nothing."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import shutil
import tarfile
import threading
import zlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from shoal.errors import Permanent
from shoal.lifecycle import UP_LOCK, only_one
from shoal.settings import in_force, load
from shoal.state_folder import backup, contents, restore
from shoal_cli.__main__ import shoal
from tests.inference_fixtures import cache_dir

HEAD = json.dumps({"format": 1, "version": "1", "prefix": "shoal", "made": 0}).encode()
BUCKETS = "cloud/services/s3/123456789012"
PHOTO, RESULT = f"{BUCKETS}/shoal-in-bucket/b/00000/env", f"{BUCKETS}/shoal-out-bucket/b/00000/env"
KEPT = {
    "settings.env": "SHOAL_OPERATOR_SECRET=abc\n",
    "ledger.jsonl": "{}\n",
    "cloud/services/state/sqs.json": "a queue",
    RESULT: "a label",
    f"{RESULT}.meta.json": "{}",
    # Names of objects are anybody's.
    **{PHOTO: "a photo", f"{PHOTO}.meta.json": "{}", f"{PHOTO}.tmp": "b photo", f"{PHOTO}.tmp.meta.json": "{}"},
    "served/results/x.lock": "a result of serve",
}
LEFT = {
    "env": "keys of a run",
    "up.lock": "1",
    "logs/web.log": "",
    "cloud/instances/i-1/record.json": "{}",
    "cloud/policies.draft": "half",
    f"{BUCKETS}/shoal-in-bucket/b/00001/new.tmp": "half",
    "served/photos/.new-1": "half",
}


def fill(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def found(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_what_counts_comes_back_and_its_owner_alone_can_read_it(tmp_path: Path) -> None:
    state, archive, second = fill(tmp_path / "state", KEPT | LEFT), tmp_path / "a.tar.gz", tmp_path / "new" / "state"

    assert backup.write(state, archive, "shoal", {}) == len(KEPT)
    done = restore.read(archive, second)

    assert (done.files, done.before, done.head.prefix) == (len(KEPT), None, "shoal")
    assert found(second) == KEPT
    assert {oct(path.stat().st_mode & 0o777) for path in [archive, *second.rglob("*")] if path.is_file()} == {"0o600"}
    assert second.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in second.parent.iterdir()] == ["state"]


def test_each_message_and_result_has_its_photo(tmp_path: Path) -> None:
    state = fill(tmp_path, KEPT)
    order = [str(together[0].relative_to(state)) for together in contents.files(state)]

    assert order.index("cloud/services/state/sqs.json") < order.index(RESULT) < order.index(PHOTO)


def test_a_file_that_changes_is_copied_with_its_description(tmp_path: Path) -> None:
    state = fill(tmp_path / "state", {PHOTO: "0", f"{PHOTO}.meta.json": "0"})
    ended = threading.Event()

    def rewrite() -> None:
        for count in itertools.count():
            if ended.is_set():
                return
            for path in (state / PHOTO, state / f"{PHOTO}.meta.json"):  # the order of the embedded cloud
                draft = path.with_name("draft")
                draft.write_text(str(count))
                draft.replace(path)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        for number in range(10):
            backup.write(state, tmp_path / "a.tar.gz", "shoal", {})
            restore.read(tmp_path / "a.tar.gz", tmp_path / f"new{number}")
            both = found(tmp_path / f"new{number}")
            assert both[PHOTO] == both[f"{PHOTO}.meta.json"]
    finally:
        ended.set()
        writer.join()


def test_a_state_is_not_overwritten_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, archive = fill(tmp_path / "state", KEPT), tmp_path / "a.tar.gz"
    monkeypatch.setenv("SHOAL_STATE_DIR", str(state))

    def run(*words: str) -> str:
        done = CliRunner().invoke(shoal, list(words))
        return f"{done.output}{done.exception or ''}"

    assert f"{archive}: {len(KEPT)} files" in run("backup", str(archive))
    (state / "settings.env").write_text("later")
    assert "holds a state: --replace moves it aside" in run("restore", str(archive))
    assert (state / "settings.env").read_text() == "later"

    told = run("restore", str(archive), "--replace")
    aside = Path(told.partition("What was there is in ")[2].partition(".\n")[0])
    assert found(state) == KEPT
    assert (aside / "settings.env").read_text() == "later"
    monkeypatch.setenv("SHOAL_PREFIX", "other")
    assert "It was made with SHOAL_PREFIX=shoal: set it" in run("restore", str(archive), "--replace")
    with only_one(state / UP_LOCK, "busy"):
        assert f"a Shoal runs in {state}: stop it first" in run("restore", str(archive), "--replace")
    assert "is in the state folder itself" in run("backup", str(state / "a.tar.gz"))
    assert f"cannot write {archive}/b (" in run("backup", f"{archive}/b")
    assert "name a file where you may write" in run("backup", str(tmp_path / "none" / "b"))
    monkeypatch.setenv("SHOAL_STATE_DIR", str(tmp_path / "none"))
    assert "there is no state in" in run("backup", str(archive))
    assert "there is no file" in run("restore", str(tmp_path / "none.tar.gz"))


def test_the_models_that_labelled_are_named_and_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, archive = fill(tmp_path / "state", KEPT), str(tmp_path / "a.tar.gz")
    monkeypatch.setenv("SHOAL_STATE_DIR", str(state))
    monkeypatch.setenv("SHOAL_CACHE_DIR", str(cache_dir()))
    monkeypatch.setenv("SHOAL_MODEL", "resnet152")  # what this terminal knows; not prepared

    def run(*words: str) -> str:
        return CliRunner().invoke(shoal, list(words)).output

    assert "Not in it" not in run("backup", archive)
    with only_one(state / in_force.LOCK, "busy"):  # as a controller that was started with another model
        in_force.of(replace(load(), model="resnet50"), 1).write(state)
        assert f"Not in it: resnet50 in {cache_dir()}" in run("backup", archive)
    monkeypatch.setenv("SHOAL_MODEL", "resnet50")
    assert "resnet50 labelled" not in run("restore", archive, "--replace")
    monkeypatch.setenv("SHOAL_CACHE_DIR", str(tmp_path / "cache"))
    assert "resnet50 labelled its photos and is not prepared here" in run("restore", archive, "--replace")


def archived(*members: tuple[tarfile.TarInfo | str, bytes]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name) if isinstance(name, str) else name
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(plain.getvalue())


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def sparse(size: int) -> tarfile.TarInfo:
    """A file of `size` zeros as GNU tar writes it: with a map of the parts that are no zeros."""
    member = tarfile.TarInfo("state/x")
    said = {"major": "1", "minor": "0", "name": member.name, "realsize": str(size)}
    member.pax_headers = {f"GNU.sparse.{name}": value for name, value in said.items()}
    return member


def whole(*members: tuple[tarfile.TarInfo | str, bytes], count: int = 1) -> bytes:
    end = ("end-of-backup.json", json.dumps({"files": count}).encode())
    return archived(("shoal-backup.json", HEAD), *members, end)


ONE = ("state/a", b"1")
HOSTILE = {
    "../x": whole(("state/../../x", b"")),
    "/x": whole(("/x", b"")),
    "of no state": whole(("other/x", b"")),
    "dots": whole(("state/./x", b"")),
    "the folder itself": whole(("state", b"")),
    "a link": whole((special("state/x", tarfile.SYMTYPE, "/etc"), b"")),
    "a hard link": whole(ONE, (special("state/x", tarfile.LNKTYPE, "/etc/passwd"), b""), count=2),
    "a device": whole((special("state/x", tarfile.CHRTYPE), b"")),
    "a large header": whole((special("x", tarfile.XHDTYPE), bytes(100_000)), ONE),
    "a header for all": whole((special("x", tarfile.XGLTYPE), b""), ONE),
    "headers without end": whole(*[(special("x", tarfile.XHDTYPE), b"")] * 2000, ONE),
    "a sparse file": whole((sparse(1000), b"1\n0\n0\n".ljust(512, b"\0"))),
    "an old sparse file": whole((special("state/x", tarfile.GNUTYPE_SPARSE), b"")),
    "twice": whole(ONE, ONE, count=2),
    "a file as a folder": whole(ONE, ("state/a/b", b""), count=2),
    "a long name": whole((f"state/{'x' * 300}", b"")),
    "too few": whole(ONE, count=2),
    "more behind the end": archived(("shoal-backup.json", HEAD), ("end-of-backup.json", b'{"files": 0}'), ONE),
    "no end": archived(("shoal-backup.json", HEAD), ONE),
    "no head": archived(ONE),
    "an odd head": archived(("shoal-backup.json", b"[1]")),
    "a newer format": archived(("shoal-backup.json", HEAD.replace(b'"format": 1', b'"format": 2'))),
    "no archive": b"a text",
    "nothing": b"",
    "an empty archive": archived(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_changes_nothing(tmp_path: Path, name: str) -> None:
    check_refused(tmp_path, [HOSTILE[name]])


def test_an_archive_that_unpacks_to_very_much_is_refused_before_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros = whole(*[(f"state/{number}", bytes(4_000_000)) for number in range(20)], count=20)
    monkeypatch.setattr(restore, "_SMALL_BYTES", 10_000_000)
    check_refused(tmp_path, [zeros])
    with pytest.raises(Permanent, match="more than 200 times its size"):
        restore.read(tmp_path / "bad.tar.gz", tmp_path / "other")


def test_an_archive_for_which_the_disk_has_no_space_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=restore._LEFT_BYTES + 2**20))
    check_refused(tmp_path, [whole(("state/a", bytes(2**20 + 1)))])
    with pytest.raises(Permanent, match="has 1 MB for the next file of the backup, which needs 2 MB"):
        restore.read(tmp_path / "bad.tar.gz", tmp_path / "other")


def test_a_damaged_archive_changes_nothing(tmp_path: Path) -> None:
    backup.write(fill(tmp_path / "first", KEPT), tmp_path / "a.tar.gz", "shoal", {})
    good = (tmp_path / "a.tar.gz").read_bytes()

    check_refused(tmp_path, (good[:length] for length in range(0, len(good), 7)))
    flipped = [good[:at] + bytes([good[at] ^ 64]) + good[at + 1 :] for at in range(10, len(good), 7)]
    check_refused(tmp_path, (bad for bad in flipped if not says_the_same(bad, good)))


def says_the_same(one: bytes, other: bytes) -> bool:
    """Some bits of a gzip file change nothing: those of the name in its head, and of repeated zeros."""
    try:
        return gzip.decompress(one) == gzip.decompress(other)
    except (OSError, EOFError, zlib.error):
        return False


def check_refused(folder: Path, archives: Iterable[bytes]) -> None:
    state, archive = fill(folder / "box" / "state", {"settings.env": "mine"}), folder / "bad.tar.gz"
    for content in archives:
        archive.write_bytes(content)
        with pytest.raises(Permanent, match=r"nothing was changed|newer"):
            restore.read(archive, state, replace=True)
        assert found(state.parent) == {"state/settings.env": "mine"}
        assert [path.name for path in state.parent.iterdir()] == ["state"]
