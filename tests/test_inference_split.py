"""Split inference without a net: cuts of graphs, and the message with an activation, whoever wrote it."""

from __future__ import annotations

import dataclasses
import gzip
import io
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inference.split import header, packing, point
from inference.split.cuts import Layer, find_cuts
from inference.split.header import BadActivation, Header
from inference.split.point import CutPoint
from shoal.messages import Box

POINT = CutPoint("resnet50", "conv4_block6_out", point.pair_of("resnet50", "sha512-x", "conv4_block6_out"), (4, 5, 6))


# cuts


@st.composite
def graphs(draw: st.DrawFn) -> list[Layer]:
    """A small graph with one or two inputs; each later layer reads some of those before it. The last is the output."""
    inputs = draw(st.integers(1, 2))
    layers = [Layer(f"l{at}") for at in range(inputs)]
    for at in range(inputs, draw(st.integers(inputs + 1, 9))):
        reads = draw(st.sets(st.integers(0, at - 1), min_size=1, max_size=3))
        layers.append(Layer(f"l{at}", tuple(f"l{one}" for one in sorted(reads)), draw(st.integers(0, 9))))
    return layers


def ways(layers: list[Layer]) -> Iterator[list[str]]:
    """Every way from the last layer back to an input."""
    by_name = {layer.name: layer for layer in layers}

    def back(name: str) -> Iterator[list[str]]:
        if not by_name[name].inputs:
            yield [name]
        for before in by_name[name].inputs:
            yield from ([name, *rest] for rest in back(before))

    return back(layers[-1].name)


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_a_layer_is_a_cut_where_every_way_leads_through_it(layers: list[Layer]) -> None:
    cuts = find_cuts(layers, layers[-1].name)

    each = [set(way) for way in ways(layers)]
    inputs = {layer.name for layer in layers if not layer.inputs}
    assert {cut.name for cut in cuts} == set.intersection(*each) - inputs - {layers[-1].name}
    needed = [layer for layer in layers if layer.name in set.union(*each) - inputs]
    for cut in cuts:
        assert cut.head_layers + cut.tail_layers == len(needed)
        assert cut.head_multiply_adds + cut.tail_multiply_adds == sum(layer.multiply_adds for layer in needed)
    assert [cut.head_layers for cut in cuts] == sorted({cut.head_layers for cut in cuts})


def test_a_residual_block_is_not_cut_in_its_middle() -> None:
    block = [Layer("image"), Layer("stem", ("image",), 7), Layer("a", ("stem",), 5), Layer("b", ("a",), 3)]
    layers = [*block, Layer("add", ("b", "stem")), Layer("unread", ("a",)), Layer("top", ("add",), 1)]

    stem, add = find_cuts(layers, "top")

    assert (stem.name, stem.head_layers, stem.tail_layers) == ("stem", 1, 4)
    assert (stem.head_multiply_adds, stem.tail_multiply_adds) == (7, 9)
    assert (add.name, add.head_layers, add.tail_multiply_adds) == ("add", 4, 1)


def test_the_name_of_a_tail_is_no_other_models_name() -> None:
    assert point.parts_of(point.tail_name("resnet50", "conv4_block6_out")) == ("resnet50", "conv4_block6_out")
    for other in ("resnet50", "tests.fixtures:MODEL", "resnet50.", ".x", ""):
        assert point.parts_of(other) is None
    assert not any(map(point.is_folder, ("", ".", "..", "a/b", "x" * 65)))


def test_the_description_of_a_cut_is_read_as_it_was_written(tmp_path: Path) -> None:
    POINT.write(tmp_path)
    assert point.read(tmp_path) == POINT
    for wrong in (b"", b"{}", b'{"format": 2}', b"[" * 9_999, b'{"format":1,"model":1,"cut":"","pair":"","shape":[]}'):
        (tmp_path / point.FILE).write_bytes(wrong)
        assert point.read(tmp_path) is None
    assert point.read(tmp_path / "none") is None


# packing


def activation(seed: int = 0, most: float = 9.0) -> NDArray[np.float32]:
    """As behind a ReLU: half of it is zero."""
    return np.maximum(np.random.default_rng(seed).normal(0, most / 4, POINT.shape), 0).astype(np.float32)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(0, 2.0**120),
    st.sampled_from(tuple(header.BITS)),
    st.sampled_from(header.COMPRESSIONS),
)
def test_what_is_unpacked_is_what_was_packed(seed: int, most: float, dtype: str, compression: str) -> None:
    sent = activation(seed, most)

    found = packing.unpack(packing.pack(sent, POINT, dtype, compression), POINT)

    assert found.shape == POINT.shape
    assert found.dtype == np.float32
    if dtype == "float32":
        np.testing.assert_array_equal(found, sent)
    else:
        inside = np.clip(sent, *np.percentile(sent, (100 - packing.KEPT[dtype], packing.KEPT[dtype])))
        step = max(float(np.ptp(sent)) / packing.LEVELS[dtype], 2e-35)
        np.testing.assert_allclose(found, inside if np.ptp(inside) else sent, atol=step * 0.51)


def test_four_bits_leave_out_the_largest_and_the_least_thousandth() -> None:
    ramp = np.linspace(0, 1, 10_001, dtype=np.float32)
    for dtype, least in (("uint8", 0.0), ("uint4", 0.001)):
        _, scale, offset = packing.quantize(ramp, dtype)
        assert (offset, offset + packing.LEVELS[dtype] * scale) == pytest.approx((least, 1 - least), abs=1e-6)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_head_that_gives_no_number_sends_nothing(wrong: float) -> None:
    sent = activation()
    sent[1, 2, 3] = wrong
    with pytest.raises(BadActivation, match="a number that is not finite"):
        packing.pack(sent, POINT)
    with pytest.raises(BadActivation, match="gave the shape"):
        packing.pack(activation()[:2], POINT)
    with pytest.raises(BadActivation, match="too far apart"):
        packing.pack(np.full(POINT.shape, 3e38, np.float32) * np.sign(activation() - 1), POINT)


BOXES: list[Box] = [(1, 2, 30, 31), (40, 0, 80, 40), (0, 50, 9, 60)]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 3), st.sampled_from(tuple(header.BITS)))
def test_parts_of_a_picture_arrive_with_their_boxes(count: int, dtype: str) -> None:
    sent = np.stack([activation(seed) for seed in range(3)])[:count]

    message = packing.pack_parts(sent, POINT, BOXES[:count], (80, 60), dtype)

    found = packing.unpack_parts(message, POINT)
    assert (found.boxes, found.size) == (tuple(BOXES[:count]), (80, 60))
    assert found.activations.shape == (count, *POINT.shape)
    step = float(np.ptp(sent)) / packing.LEVELS.get(dtype, 1e9) if count else 0
    inside = (
        np.clip(sent, *np.percentile(sent, (100 - packing.KEPT[dtype], packing.KEPT[dtype])))
        if dtype == "uint4" and count
        else sent
    )
    np.testing.assert_allclose(found.activations, inside, atol=step)
    with pytest.raises(BadActivation, match="of parts of a picture"):
        packing.unpack(message, POINT)
    with pytest.raises(BadActivation, match="of a whole picture"):
        packing.unpack_parts(packing.pack(activation(), POINT), POINT)


def made(raw: bytes | None = None, packed: bytes | None = None, **changes: object) -> bytes:
    """A message with other fields, other numbers, or other packed numbers."""
    raw = activation().tobytes() if raw is None else raw
    right = Header(POINT.model, POINT.cut, POINT.pair, POINT.shape, "float32", "none", zlib.crc32(raw))
    first = dataclasses.replace(right, **changes)  # type: ignore[arg-type]
    return first.to_bytes() + (raw if packed is None else packed)


def without_size(raw: bytes) -> bytes:
    """Zstandard data that does not say how long it is once it is unpacked."""
    return zstandard.ZstdCompressor(write_content_size=False).compress(raw)


RAW = activation().tobytes()
LENGTH = len(RAW)
WITH_NAN = np.full(POINT.shape, np.nan, np.float32).tobytes()
WRONG = {
    "a photo": (b"\xff\xd8\xff\xe0 JFIF", "no packed activation"),
    "nothing": (b"", "no packed activation"),
    "the magic alone": (header.MAGIC, "cut off in its first bytes"),
    "a later version": (header.MAGIC + b"\x02\x00\x02{}", "has version 2, and this program reads 1"),
    "a long header": (header.MAGIC + b"\x01\xff\xff" + b" " * 70_000, "header has 65535 bytes"),
    "half a header": (made()[:40], "cut off in its header"),
    "no JSON": (header.MAGIC + b"\x01\x00\x03{{{", "header is damaged"),
    "fields missing": (header.MAGIC + b"\x01\x00\x02{}", "header is damaged"),
    "another model": (made(model="mobilenet_v2"), "of mobilenet_v2 cut at .* this is the tail of resnet50"),
    "another cut": (made(cut="conv2_block1_out"), "cut at conv2_block1_out, and this is the tail"),
    "other weights": (made(pair="0" * 16), "different weights: prepare the head again"),
    "another shape": (made(shape=(4, 6, 5)), r"the shape \[4, 6, 5\], and \[4, 5, 6\] was expected"),
    "a size below zero": (made(shape=(4, -5, 6)), "no shape of an activation"),
    "no shape": (made(shape=()), "no shape of an activation"),
    "a part of a size": (made(shape=(4.5, 5, 6)), "header is damaged: 4.5 is no whole number"),
    "a huge shape": (made(shape=(10**6, 10**6)), "would have more than 67 MB"),
    "other numbers": (made(dtype="float64"), "numbers are 'float64'"),
    "another compression": (made(compression="lzma"), "compressed by 'lzma'"),
    "no scale": (made(dtype="uint8", scale=0.0), "scale is no number"),
    "a scale that is none": (made(dtype="uint8", scale=float("nan")), "header is damaged"),
    "half a byte too few": (made(RAW[:59], dtype="uint4"), "cut off: 59 of 60 bytes"),
    "a box outside": (made(boxes=((0, 0, 9, 9),), size=(8, 9)), "is no box in a picture of 8 x 9 pixels"),
    "a box without an inside": (made(boxes=((3, 3, 3, 4),), size=(8, 9)), "is no box in a picture"),
    "a box with a side too few": (made(boxes=((0, 0, 3),), size=(8, 9)), "header is damaged"),
    "boxes without a size": (made(boxes=((0, 0, 3, 3),), size=()), "header is damaged"),
    "too many boxes": (made(boxes=((0, 0, 3, 3),) * 21, size=(8, 9)), "21 boxes are more than 20"),
    "parts for a tail of whole pictures": (made(boxes=(), size=(8, 9)), "this tail reads whole pictures"),
    "a huge scale": (
        made(b"\xff" * 120, dtype="uint8", scale=1e300, check=zlib.crc32(b"\xff" * 120)),
        "has a number that is not finite",
    ),
    "a wrong checksum": (made(check=1), "checksum is wrong"),
    "NaN": (made(WITH_NAN), "has a number that is not finite"),
    "too few numbers": (made(packed=RAW[:-1]), f"cut off: {LENGTH - 1} of {LENGTH} bytes"),
    "too many numbers": (made(packed=RAW + b"\0"), f"more than the {LENGTH} bytes"),
    "no gzip": (made(compression="gzip"), "gzip data is damaged"),
    "half of gzip": (made(compression="gzip", packed=gzip.compress(RAW)[:-9]), "cut off|gzip data is damaged"),
    "more behind gzip": (made(compression="gzip", packed=gzip.compress(RAW) + b"x"), "cut off"),
    "a bomb in gzip": (made(compression="gzip", packed=gzip.compress(bytes(50_000_000))), f"more than the {LENGTH} b"),
    "no zstd": (made(compression="zstd"), "zstd data is damaged"),
    "half of zstd": (made(compression="zstd", packed=without_size(RAW)[:-9]), "cut off|zstd data is damaged"),
    "a bomb in zstd": (made(compression="zstd", packed=without_size(bytes(50_000_000))), f"more than the {LENGTH} b"),
    "a window of 128 MB": (
        made(
            compression="zstd",
            packed=zstandard.ZstdCompressor(
                compression_params=zstandard.ZstdCompressionParameters(window_log=27, write_content_size=0)
            )
            .compressobj()
            .compress(RAW),
        ),
        "cut off|asks for too much memory",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_message_is_refused_in_words_of_its_own(name: str) -> None:
    message, words = WRONG[name]
    tracemalloc.start()
    try:
        with pytest.raises(BadActivation, match=words) as raised:
            packing.unpack(message, POINT)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_message_is_refused_or_gives_finite_numbers(data: st.DataObject) -> None:
    dtype, compression = (
        data.draw(st.sampled_from(tuple(header.BITS))),
        data.draw(st.sampled_from(header.COMPRESSIONS)),
    )
    message = bytearray(packing.pack(activation(), POINT, dtype, compression))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(message) - 1))
        message[at] = data.draw(st.integers(0, 255))
    cut_off = data.draw(st.integers(0, len(message)))
    with suppress(BadActivation):
        found = packing.unpack(bytes(message[:cut_off]) if data.draw(st.booleans()) else bytes(message), POINT)
        assert found.shape == POINT.shape
        assert np.isfinite(found).all()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_refused(noise: bytes) -> None:
    for message in (noise, header.MAGIC + noise, made(packed=noise, compression="zstd")):
        with pytest.raises(BadActivation):
            packing.unpack(message, POINT)


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=8, max_size=8), st.binary(min_size=8, max_size=8))
def test_a_marked_activation_is_the_same_activation_in_other_bytes(one: bytes, other: bytes) -> None:
    message = packing.pack(activation(), POINT)

    marked = header.unlike_any_other(message, one)

    assert (marked == header.unlike_any_other(message, other)) == (one == other)
    np.testing.assert_array_equal(packing.unpack(marked, POINT), packing.unpack(message, POINT))


def test_compression_is_what_a_browser_can_write_too() -> None:
    stream = io.BytesIO(packing.compress(RAW, "gzip"))
    assert gzip.GzipFile(fileobj=stream).read() == RAW
    assert zstandard.ZstdDecompressor().decompress(packing.compress(RAW, "zstd")) == RAW
