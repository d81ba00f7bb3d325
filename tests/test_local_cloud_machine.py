"""Instances that are machines: what needs no root. `make machine` boots them."""

import asyncio
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from local_cloud.arguments import parse
from local_cloud.machines.booted import machine, relay, seed
from local_cloud.machines.booted.groups import remove_tree
from local_cloud.machines.booted.machine import MachineGuest, NoMachines
from local_cloud.machines.images import ImageError

ROOT = Path(__file__).parent.parent


def test_what_is_missing_is_said_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        NoMachines, match=r"root's rights, systemd-nspawn \(Debian: apt-get install systemd-container\)"
    ):
        machine.check()


def test_ci_says_why_it_runs_no_machines(tmp_path: Path) -> None:
    for name in ("bash", "dirname", "id", "mktemp", "rm"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    done = subprocess.run(
        [ROOT / ".ci/machines"],
        env={"PATH": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("machines: not run, ")


def test_machines_are_never_hostile(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(["--state-dir", "x", "--instances", "machine"]).machines
    with pytest.raises(SystemExit):
        parse(["--state-dir", "x", "--instances", "machine", "--hostile", "7"])
    assert "process trees" in capsys.readouterr().err


def test_an_image_without_systemd_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="a machine needs an image of a whole system"):
        MachineGuest("i-1", tmp_path / "i-1").prepare(tmp_path)


def test_all_users_of_a_machine_can_read_where_the_cloud_is(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        root = tmp_path / "root"
        root.mkdir()
        seed.write(root, "i-1", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
    finally:
        os.umask(before)
    found = [root, *root.rglob("*")]
    assert all(stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644) for path in found)
    assert (root / "etc/environment").read_text() == "AWS_ENDPOINT_URL=http://127.0.0.1:1\n"


class Kept:
    """A writer that keeps what is written to it."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    async def drain(self) -> None:
        """Do nothing: all is kept."""

    def write_eof(self) -> None:
        self.written += b"(end)"


def test_every_request_of_a_connection_gets_the_path_of_its_machine() -> None:
    async def relayed() -> bytes:
        reader, kept = asyncio.StreamReader(), Kept()
        reader.feed_data(b"PUT /latest/api/token HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody")
        reader.feed_data(b"GET /latest/user-data HTTP/1.1\r\n\r\n")
        reader.feed_eof()
        await relay.pump_requests(reader, kept, "/i-1-secret")  # type: ignore[arg-type]
        return kept.written

    assert asyncio.run(relayed()) == (
        b"PUT /i-1-secret/latest/api/token HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody"
        b"GET /i-1-secret/latest/user-data HTTP/1.1\r\n\r\n(end)"
    )


def test_groups_are_removed_from_below(tmp_path: Path) -> None:
    (tmp_path / "machine" / "payload" / "init.scope").mkdir(parents=True)
    remove_tree(tmp_path / "machine")
    assert not (tmp_path / "machine").exists()
