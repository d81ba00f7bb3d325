"""Whether this Shoal is a checkout or was installed, and what depends on that.

Folders that are no Python code (`templates`, `static`, `ami`, `requirements`) lie beside the packages in a checkout.
setup.py maps them into the installed package, as `shoal/data/<name>`.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_INSTALLED = _PACKAGE / "data"


def folder(name: str) -> Path:
    """The folder that is called `name` in the checkout."""
    return (_INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent) / name


def install_packages() -> str:
    """How a user installs the packages that Shoal needs: from a checkout, or with an installed Shoal."""
    if _INSTALLED.is_dir():
        return "install shoal again, as it was installed (pip, pipx or uv)"
    return "run `make run`, or pip install -r requirements.txt"


def import_path() -> str:
    """What PYTHONPATH must hold so that a process started in any folder imports this code; empty when installed."""
    return "" if _INSTALLED.is_dir() else str(_PACKAGE.parent)
