"""Who gets a page and who gets text: Accept and Sec-Fetch headers as browsers and programs send them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from tests.web_fixtures import Site, jpeg, running_site

BROWSERS = {
    "Chrome": {
        "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
        "application/signed-exchange;v=b3;q=0.7",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    },
    "Firefox on plain HTTP": {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
    "Safari": {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
    "Lynx": {"Accept": "text/html, text/plain, text/sgml, text/css, application/xhtml+xml, */*;q=0.01"},
    "a proxy has changed Accept": {"Accept": "*/*", "Sec-Fetch-Mode": "navigate"},
    "a person with curl": {"Accept": "text/html"},
    "with a character set": {"Accept": "TEXT/HTML;charset=utf-8, */*;q=0.5"},
}
PROGRAMS = {
    "curl": {"Accept": "*/*"},
    "none": {"Accept": ""},
    "Java": {"Accept": "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"},
    "Java 18": {"Accept": "text/html, image/gif, image/jpeg, */*; q=0.2"},
    "axios": {"Accept": "application/json, text/plain, */*"},
    "Spring": {"Accept": "text/plain, application/json, application/*+json, */*"},
    "everything alike": {"Accept": "text/html, */*"},
    "anything first": {"Accept": "*/*, text/html"},
    "JSON first": {"Accept": "application/json, text/html, application/xhtml+xml, */*;q=0.1"},
    "JSON by its share": {"Accept": "text/html;q=0.5, application/json"},
    "text first": {"Accept": "text/plain, text/html;q=0.9, application/xhtml+xml;q=0.9"},
    "not HTML": {"Accept": "text/html;q=0, */*"},
    "node": {"Accept": "*/*", "Sec-Fetch-Mode": "cors"},
    "nonsense": {"Accept": "text/html;q=x;;,,=/"},
}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


def sent(site: Site, headers: dict[str, str], photo: bytes) -> requests.Response:
    files = {"inputFile": ("test_0.JPG", photo)}
    return requests.post(site.url, files=files, headers=headers, timeout=30, allow_redirects=False)


@pytest.mark.parametrize("browser", BROWSERS)
def test_a_browser_is_led_to_the_page_of_its_batch(site: Site, browser: str) -> None:
    reply = sent(site, BROWSERS[browser], jpeg())
    assert reply.status_code == 303
    assert reply.headers["Location"].startswith("/batches/")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_gets_name_and_label(site: Site, program: str) -> None:
    reply = sent(site, PROGRAMS[program], jpeg())
    assert (reply.status_code, reply.text) == (200, "test_0:hair_spray")


def test_errors_are_told_in_the_same_way(site: Site) -> None:
    page = requests.get(f"{site.url}/batches/x", headers=BROWSERS["Safari"], timeout=10)
    words = requests.get(f"{site.url}/batches/x", headers=PROGRAMS["Java"], timeout=10)
    json = requests.get(f"{site.url}/batches/x", headers=PROGRAMS["JSON first"], timeout=10)
    types = [reply.headers["Content-Type"] for reply in (page, words, json)]
    assert types == ["text/html; charset=utf-8", "text/plain; charset=utf-8", "application/json"]
