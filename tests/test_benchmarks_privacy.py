"""How alike two pictures are said to be: the figures of the privacy meter."""

from __future__ import annotations

import json
import math
from pathlib import Path

import click
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from benchmarks.privacy import page
from benchmarks.privacy.remedy import Remedy
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


def test_a_remedy_changes_an_activation_by_its_size() -> None:
    sent = np.random.default_rng(2).normal(3, 2, (4, 7, 7, 8)).astype(np.float32)
    off = {name: float(np.abs(Remedy.of(name).applied(sent) - sent).mean()) for name in ("uint8", "uint4", "noise-0.5")}

    assert off["uint8"] < 0.05 < off["uint4"] < 0.4 < off["noise-0.5"] < 1.2
    for wrong in ("uint2", "noise-", "noise-x", "noise-0", "noise-nan", "0.5"):
        with pytest.raises(click.BadParameter):
            Remedy.of(wrong)


def test_figures_for_the_page_are_added_to_those_there_in_the_order_of_the_cuts(tmp_path: Path) -> None:
    out, shown = tmp_path / "out", tmp_path / "page"
    out.mkdir()
    shown.mkdir()
    attack = {"ssim": [0.2, 0.4], "psnr": [10.0, 20.0], "same_label": [True, True], "pool_label": [True, False]}
    found = {"asked_seconds": 30.0, "decoder": attack, "inversion": attack, "agreeing": 97, "photos": 100}
    names = ["m-b", "m-a-uint4", "m-a"]
    for name in names:
        Image.new("RGB", (680, 452)).save(out / f"{name}.jpg")
        page.write({name: found}, out, ["m-a", "m-b"], shown)

    rows = json.loads((shown / page.FIGURES).read_text())
    assert [row["name"] for row in rows] == ["m-a", "m-a-uint4", "m-b"]
    assert rows[1]["remedy"] == "uint4"
    assert rows[0]["decoder"] == {"ssim": 0.3, "psnr": 15.0, "same_label": 2, "pool_label": 1}
    with Image.open(shown / "m-a.jpg") as picture:
        assert picture.size == (453, 301)
