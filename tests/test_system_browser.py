"""The main job as a person does it: a real browser, real photos, real labels, workers that come and go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from benchmarks import photos
from benchmarks.running.system import RunningSystem
from shoal.messages import readable
from shoal.settings import load
from tests.web_screenshots import chromium

ANSWER_MILLISECONDS = 120_000


@pytest.fixture
def system(tmp_path: Path) -> Iterator[RunningSystem]:
    system = RunningSystem(tmp_path / "state")
    system.start()
    yield system
    assert system.stop() == 0


def labels_on(page: Page) -> dict[str, str]:
    """The label on each card, by the name of its file."""
    names, labels = (page.locator(f".photo {part}").all_text_contents() for part in (".name", ".label"))
    return dict(zip(names, labels, strict=True))


def test_ten_real_photos_get_ten_right_labels(system: RunningSystem) -> None:
    known = dict(list(photos.labelled(load().cache_dir).items())[:10])
    assert len(known) == 10
    with chromium() as browser:
        page = browser.new_page()
        page.goto(system.address)
        page.locator("input[type=file]").first.set_input_files(list(known))
        page.get_by_role("button", name="Label all 10").click()
        expect(page.get_by_role("heading", name="Done: 10 photos")).to_be_visible(timeout=ANSWER_MILLISECONDS)
        told = labels_on(page)
        assert "/batches/" in page.url
        page.reload()
        again = labels_on(page)
    for path, right in known.items():
        assert told[path.name] in {readable(label) for label in right}
    assert again == told
    assert "; launched " in system.text()
    system.wait_until_empty()
    assert re.search(r": .*asked \d+ to leave", system.text())
