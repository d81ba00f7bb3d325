"""How alike two pictures are said to be: the figures of the privacy meter."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.privacy.similarity import WINDOW, psnr, ssim

sides = st.integers(WINDOW, 24)


def picture(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@given(st.integers(0, 99), st.integers(100, 199), sides, sides)
def test_a_picture_is_like_itself_and_less_like_another(one: int, other: int, height: int, width: int) -> None:
    a, b = picture(one, height, width), picture(other, height, width)

    assert ssim(a, a) == pytest.approx(1)
    assert psnr(a, a) == math.inf
    assert -1 <= ssim(a, b) < 0.9
    assert ssim(a, b) == pytest.approx(ssim(b, a))
    assert psnr(a, b) == psnr(b, a) < 20


@given(st.integers(0, 99), st.integers(1, 50))
def test_a_shift_of_all_values_has_the_psnr_of_its_size(seed: int, shift: int) -> None:
    dark = (picture(seed, 16, 16) // 2).astype(np.uint8)
    light = (dark + shift).astype(np.uint8)

    assert psnr(dark, light) == pytest.approx(20 * math.log10(255 / shift))


def test_noise_costs_similarity_and_more_noise_more() -> None:
    rows = np.linspace(0, 255, 64)[:, None, None]
    smooth = np.broadcast_to(rows, (64, 64, 3)).astype(np.uint8)
    noise = np.random.default_rng(1).normal(0, 1, smooth.shape)
    found = [ssim(smooth, np.clip(smooth + size * noise, 0, 255).astype(np.uint8)) for size in (0, 5, 20, 80)]

    assert found == sorted(found, reverse=True)
    assert found[0] == pytest.approx(1)
    assert found[-1] < 0.3
