"""What `shoal compare` sends: photos as they are, resized, and marked so that no answer is remembered."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from comparison.link import Link
from comparison.measurement import AS_IT_IS, RESIZED, Lane
from comparison.photos import PreparedPhotos, as_they_are, made_from, unlike_any_other
from inference import images, private_data

PIXELS = np.random.default_rng(7).integers(0, 255, (300, 400, 3), np.uint8)


def encoded(form: str) -> bytes:
    body = io.BytesIO()
    Image.fromarray(PIXELS).save(body, form)
    return body.getvalue()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "a.jpg", tmp_path / "b.png"]
    for path in paths:
        path.write_bytes(encoded(Image.registered_extensions()[path.suffix]))
    return paths


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_a_marked_photo_is_another_file_with_the_same_picture(form: str) -> None:
    content = encoded(form)
    one, other = unlike_any_other(content), unlike_any_other(content)
    assert len({content, one, other}) == 3
    for marked in (one, other):
        found = images.open_whole(marked, 400, 10**7)
        assert (found.pixels == images.open_whole(content, 400, 10**7).pixels).all()


def test_a_mark_is_no_private_data_so_no_answer_is_remembered() -> None:
    content = encoded("JPEG")
    assert (
        len({private_data.removed(one) for one in (content, unlike_any_other(content), unlike_any_other(content))}) == 3
    )


def test_photos_go_as_they_are_and_resized(files: list[Path], tmp_path: Path) -> None:
    prepared = PreparedPhotos(tmp_path)
    for photo in as_they_are([*files, files[0]]):
        prepared.add(photo, (AS_IT_IS, RESIZED))
    assert prepared.names() == ["a.jpg", "b.png", "a.jpg (2)"]
    assert prepared.lane_content("b.png", Lane("pool", AS_IT_IS)) == files[1].read_bytes()
    with Image.open(io.BytesIO(prepared.lane_content("b.png", Lane("pool", RESIZED)))) as small:
        assert (small.format, small.size) == ("JPEG", (341, 256))


def test_a_set_has_as_many_different_photos_as_asked(files: list[Path], tmp_path: Path) -> None:
    prepared = PreparedPhotos(tmp_path)
    photos = made_from(files, 9)
    for photo in photos:
        prepared.add(photo, (AS_IT_IS,))
    contents = {prepared.lane_content(name, Lane("pool", AS_IT_IS)) for name in prepared.names()}
    assert (len(photos), len(contents)) == (9, 9)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no picture")
    [photo] = as_they_are([tmp_path / "a.jpg"])
    with pytest.raises(OSError, match="cannot identify"):
        PreparedPhotos(tmp_path).add(photo, (AS_IT_IS, RESIZED))


def test_a_link_takes_its_delay_and_the_time_of_the_bytes() -> None:
    assert Link(mbit=8, delay_ms=30).seconds(100_000) == pytest.approx(0.13)
    assert Link().seconds(10**9) == 0
    assert not Link()
