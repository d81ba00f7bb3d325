"""Where the folders of files are that are no Python code: `templates`, `static`, `ami`, `requirements`.

In a checkout they lie beside the packages. setup.py maps them into the installed package, as `shoal/data/<name>`.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_INSTALLED = _PACKAGE / "data"


def folder(name: str) -> Path:
    """The folder that is called `name` in the checkout."""
    return (_INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent) / name


def import_path() -> str:
    """What PYTHONPATH must hold so that a process started in any folder imports this code; empty when installed."""
    return "" if _INSTALLED.is_dir() else str(_PACKAGE.parent)
