"""The documentation names what exists: each link, each anchor and each file."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from shoal.settings import SETTINGS

ROOT = Path(__file__).parent.parent
TRACKED = [
    Path(line)
    for line in subprocess.check_output(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True
    ).splitlines()
    if (ROOT / line).is_file()
]
PAGES = [path for path in TRACKED if path.suffix == ".md"]
FOLDERS = {path.parts[0] for path in TRACKED if len(path.parts) > 1}
NAMES = {path.name for path in TRACKED}

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2", re.MULTILINE | re.DOTALL)
EXAMPLE = re.compile(r"^```python\n# (\S+\.py)$", re.MULTILINE)
PAGE = re.compile(r"(?<![\w/.])[\w-]+\.md\b")
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"(?<![\w./<>-])([\w.-]+(?:/[\w.*-]+)+/?|[\w-]+\.(?:py|js|css|sh))(?![\w/<>-])")


@cache
def text(page: Path) -> str:
    return (ROOT / page).read_text()


@cache
def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page may name, by GitHub's rule."""
    headings = re.findall(r"^#+ +(.+?) *$", FENCE.sub("", text(page)), re.MULTILINE)
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def named_files(page: Path) -> Iterator[str]:
    """The files and folders of the project that the page names, those of its examples left out."""
    plain = FENCE.sub("", text(page))
    yield from PAGE.findall(CODE.sub("", LINK.sub("", plain)))
    examples = {found[1] for found in EXAMPLE.finditer(text(page))}
    for span in CODE.findall(plain):
        for name in PATH.findall(span):
            first, slash, _ = name.partition("/")
            ours = first in FOLDERS if slash else "://" not in span
            if ours and name not in examples:
                yield name


def exists(page: Path, name: str) -> bool:
    """Whether the project, or the folder of the page, has a file of that name, which may have a `*`."""
    if "/" not in name:
        return any(known.endswith(name) for known in NAMES)  # `_plan.py` is the end of a name, after a list's first
    return any(any(folder.glob(name.rstrip("/"))) for folder in (ROOT, (ROOT / page).parent))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_each_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", text(page))):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        target, _, anchor = link.partition("#")
        path = ((ROOT / page).parent / target).resolve() if target else ROOT / page
        assert path.exists(), f"{page}: {link}"
        assert path.is_relative_to(ROOT), f"{page}: {link}"
        if anchor:
            assert anchor in anchors(path.relative_to(ROOT)), f"{page}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_each_file_that_is_named_exists(page: Path) -> None:
    assert [name for name in named_files(page) if not exists(page, name)] == []


def test_what_the_operations_page_quotes_is_what_shoal_says() -> None:
    """The first column quotes messages; a message of several strings in the code counts as one."""
    sources = "\n".join(text(path) for path in TRACKED if path.suffix == ".py" and path.parts[0] != "tests")
    said = re.sub(r'"\s*\n\s*f?"', "", sources)
    rows = [line.split("|")[1] for line in text(Path("docs/operations.md")).splitlines() if line.startswith("| ")]
    quoted = [found for row in rows for found in CODE.findall(row) if " " in found and not found.startswith("shoal ")]
    assert len(quoted) > 10
    assert [found for found in quoted if found not in said] == []


def test_each_metric_and_setting_of_the_operations_page_exists() -> None:
    page = text(Path("docs/operations.md"))
    metrics = text(Path("controller/metrics.py"))
    for name in re.findall(r"shoal_(\w+?)(?:_total)?`", page):
        assert f'"{name}"' in metrics or f'"shoal_{name}"' in metrics, name
    assert set(re.findall(r"SHOAL_\w+", page)) <= {one.variable for one in SETTINGS}
