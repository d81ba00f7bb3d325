"""Tells commands on the same machine at which address the Shoal of their state folder serves its page."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from shoal import settings
from shoal.lifecycle import SERVE_LOCK, UP_LOCK, holder
from shoal.settings import Settings

NAME = "page-address"


def tell(state_dir: Path, address: str) -> None:
    """Keep the address in the state folder. Never fails: without it the settings say where the page is."""
    with suppress(OSError):
        (state_dir / NAME).write_text(address)


def page_address(chosen: Settings) -> str:
    """Where the page is: as SHOAL_HOST and SHOAL_PORT say; where neither is set, as the Shoal that runs here said."""
    usual = f"http://{chosen.host}:{chosen.port}"
    runs = any(holder(chosen.state_dir / lock) is not None for lock in (UP_LOCK, SERVE_LOCK))
    if runs and not {"host", "port"} & settings.sources().keys():
        with suppress(OSError):
            return (chosen.state_dir / NAME).read_text().strip() or usual
    return usual
