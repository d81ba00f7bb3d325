"""Weights in few bits: the same net, less than half as large."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import onnx

from inference.preparing.architecture import outputs
from inference.preparing.browser import few_bits

NET = """
<ir_version: 8, opset_import: ["": 17]>
net (float[N, 16, 8, 8] image) => (float[N, 40] shares) {
    wide = Conv<kernel_shape = [3, 3]>(image, kernel)
    means = GlobalAveragePool(wide)
    flat = Flatten(means)
    scores = Gemm<transB = 1>(flat, matrix, bias)
    shares = Softmax(scores)
}
"""


def test_the_net_is_the_same_and_less_than_half_as_large(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    net = onnx.parser.parse_model(NET)
    shapes = {"kernel": (64, 16, 3, 3), "matrix": (40, 64), "bias": (40,)}
    for name, shape in shapes.items():
        values = random.normal(size=shape, scale=0.1).astype(np.float32)
        net.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    whole, small = tmp_path / "whole.onnx", tmp_path / "small.onnx"
    onnx.save(net, whole)

    few_bits.store(whole, small)

    batch = random.normal(size=(4, 16, 8, 8)).astype(np.float32)
    [right], [found] = outputs(whole, batch), outputs(small, batch)
    assert np.abs(right - found).max() < 0.01
    packed = [len(gzip.compress(file.read_bytes(), 9)) for file in (whole, small)]
    assert packed[1] < packed[0] / 2
