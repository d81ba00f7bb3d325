"""The words that pages show: the rules of each, and the script's few words beside the server's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page

from tests.web_fixtures import running_site
from web_tier import words
from web_tier.results.status import Counts, status_line

SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
BYTES = {"bytes": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3}


@pytest.mark.parametrize(
    ("seconds", "told", "exact"),
    [
        (0.0, "less than a second", "0 ms"),
        (0.0125, "less than a second", "13 ms"),
        (0.9996, "less than a second", "1.0 s"),
        (2.5, "3 s", "2.5 s"),
        (9.97, "10 s", "10 s"),
        (89.9, "90 s", "90 s"),
        (90, "2 min", "2 min"),
        (150, "3 min", "3 min"),
        (5_399, "90 min", "90 min"),
        (5_400, "1.5 h", "1.5 h"),
        (7_200, "2 h", "2 h"),
        (4_000_000, "1,111 h", "1,111 h"),
    ],
)
def test_durations(seconds: float, told: str, exact: str) -> None:
    assert (words.duration(seconds), words.duration(seconds, exact=True)) == (told, exact)


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (Counts(60, 0, 0, 0, 60), "Done: 60 photos in 2\N{NO-BREAK SPACE}s, all from the answer cache"),
        (Counts(60, 0, 2, 0, 5), "Done: 60 photos in 2\N{NO-BREAK SPACE}s, 2 of them failed, 5 from the answer cache"),
        (Counts(9, 7, 2, 0, 0), "Labelling: 2 of 9, 2 of them failed"),
        (Counts(10, 0, 2, 3, 0), "Cancelled: 3 photos. Labelled: 5, 2 failed"),
    ],
)
def test_the_sentence_of_a_batch(count: Counts, told: str) -> None:
    assert status_line(count, 2.0, None) == told


def in_units(told: str, units: dict[str, float] | dict[str, int]) -> tuple[float, float]:
    """The value that words stand for, and half of its last digit."""
    match = re.fullmatch(r"([\d,]+)(\.\d)? (\w+)", told)
    assert match, told
    unit = units[match[3]]
    tenths = match[2] or match[3] in ("MB", "GB") or (match[3] == "h" and len(match[1]) == 1)
    return float(match[1].replace(",", "") + (match[2] or "")) * unit, unit / (20 if tenths else 2)


@given(st.floats(0, 1e8), st.booleans())
def test_a_duration_is_never_more_than_half_a_digit_off(seconds: float, exact: bool) -> None:
    told = words.duration(seconds, exact)
    if told == "less than a second":
        assert seconds < 1
        assert not exact
        return
    value, half = in_units(told, SECONDS)
    assert abs(value - seconds) <= half * 1.000001 + 1e-9


@given(st.lists(st.floats(0, 1e6), min_size=2).map(sorted), st.booleans())
def test_a_longer_time_is_never_told_as_a_shorter_one(seconds: list[float], exact: bool) -> None:
    values = [in_units(told, SECONDS)[0] for one in seconds if (told := words.duration(one, exact))[0] != "l"]
    # From 90 s on, minutes are coarser than seconds: 90 s is told as 2 min, and 89.9 s as 90 s.
    assert all(later >= earlier for earlier, later in pairwise(values))


@pytest.mark.parametrize(
    ("share", "told"), [(0.0004, "<0.1 %"), (0.0425, "4.3 %"), (0.0996, "10 %"), (0.125, "13 %"), (1.0, "100 %")]
)
def test_shares(share: float, told: str) -> None:
    assert words.percent(share) == told


@given(st.integers(0, 10**13))
def test_a_size_is_never_more_than_half_a_digit_off(count: int) -> None:
    value, half = in_units(words.size(count), BYTES)
    assert abs(value - count) <= half


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with running_site(work=False) as site:
        found = browser.new_page()
        found.goto(site.url)
        yield found
        found.close()


def test_the_script_says_sizes_and_counts_as_the_server_does(page: Page) -> None:
    powers = [base * 2**power + step for power in range(44) for base in (1, 3, 5) for step in (-1, 0, 1)]
    counts = sorted({max(0, one) for one in powers})
    told = page.evaluate(
        """async (counts) => {
            const words = await import("/static/js/words.js");
            return counts.map((count) => [words.size(count), words.photos(count), words.number(count)]);
        }""",
        counts,
    )
    assert told == [[words.size(one), words.photos(one), words.number(one)] for one in counts]
