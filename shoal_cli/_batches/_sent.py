"""The batches that were sent from here: kept, so that one can come back to them.

In the state folder, where there is one or SHOAL_STATE_DIR names one. Who only sends photos to a Shoal gets no
folder where he stands: then they are kept in the user's own folder, `~/.local/state/shoal` (XDG_STATE_HOME).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from inference.photo_folders import readable
from shoal import settings
from shoal.errors import Permanent
from shoal.messages import is_batch
from shoal.settings import Settings
from shoal.state_folder.page_address import page_address
from shoal_cli._batches._address import whole_address
from shoal_cli._client import Client

FOLDER = "sent"
MOST_KEPT = 100


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch that was sent. address: of the Shoal. at: seconds since 1970. paths: of its photos, by index.

    tail: of a batch of the venue `split`, whose photos never leave this device; empty for any other.
    """

    batch: str
    address: str
    at: float
    paths: tuple[str, ...]
    tail: str = ""

    @property
    def page(self) -> str:
        """The address of its page."""
        return f"{self.address}/batches/{self.batch}"

    def unsent(self, arrived: int) -> str:
        """How many photos of the batch did not arrive, and how to go on; empty when all did, or when it is not ours."""
        missing = len(self.paths) - arrived
        if missing <= 0:
            return ""
        were = "was" if missing == 1 else "were"
        return (
            f"{arrived} of {len(self.paths)} photos were sent, {missing} {were} not: "
            f"`shoal classify --resume {self.batch}` sends the rest and shows all"
        )

    def path(self, index: int) -> Path | None:
        """The file of a photo; None when it was not sent from here."""
        return Path(self.paths[index]) if index < len(self.paths) else None


def keep(chosen: Settings, client: Client, batch: str, photos: Sequence[Path], tail: str = "") -> Sent:
    """Write down a new batch, and forget the oldest. A state folder that cannot be written costs only that."""
    sent = Sent(batch, client.address, time.time(), tuple(map(os.path.abspath, photos)), tail)
    folder = _folders(chosen)[0]
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{batch}.json"
        file.write_text(json.dumps(asdict(sent)))  # ASCII: a path may hold bytes that are not UTF-8
        file.chmod(0o600)
        for old in sorted(folder.glob("*.json"))[:-MOST_KEPT]:
            old.unlink()
    return sent


def newest(chosen: Settings, most: int) -> Iterator[Sent]:
    """The batches that were sent last, the newest first."""
    files = [file for folder in _folders(chosen) for file in folder.glob("*.json")]
    for file in sorted(files, key=lambda one: one.name, reverse=True)[:most]:  # an id begins with the time
        if found := _read(file):
            yield found


def find(text: str, url: str | None) -> Sent:
    """The batch that a person names by its id or by the address of its page. url: of the Shoal, when it is given.

    A batch that was not sent from here has no paths. Raises Permanent when `text` names no batch.
    """
    chosen = settings.load()
    parts = urlsplit(whole_address(text) if "/" in text else text)
    batch = parts.path.rstrip("/").rpartition("/")[2]
    if not is_batch(batch):
        raise Permanent(f"{text!r} is not the id of a batch, nor the address of its page: `shoal batches` lists yours")
    known = next(filter(None, (_read(folder / f"{batch}.json") for folder in _folders(chosen))), None)
    own = f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
    address = url or own or (known.address if known else page_address(chosen))
    at, paths, tail = (known.at, known.paths, known.tail) if known else (0.0, (), "")
    return Sent(batch, address.rstrip("/"), at, paths, tail)


def find_own(text: str, url: str | None) -> Sent:
    """As `find`, for a batch that was sent from here and whose files are still there. Raises Permanent for another."""
    found = find(text, url)
    if not found.paths:
        raise Permanent(f"{found.batch} was not sent from here: `shoal batches` lists yours")
    if gone := next((path for path in found.paths if not Path(path).is_file()), ""):
        raise Permanent(f"{readable(gone)} is no longer there: `shoal results {found.batch}` shows what was sent")
    return found


def forget(batch: str) -> None:
    """Forget a batch that is deleted. May raise OSError."""
    for folder in _folders(settings.load()):
        (folder / f"{batch}.json").unlink(missing_ok=True)


def _folders(chosen: Settings) -> list[Path]:
    """Where batches may be kept; new ones are in the first."""
    own = chosen.state_dir / FOLDER
    if chosen.state_dir != Settings().state_dir:
        return [own]
    users = settings.user_state_dir() / FOLDER
    return [own, users] if chosen.state_dir.is_dir() else [users]


def _read(file: Path) -> Sent | None:
    try:
        fields = json.loads(file.read_text())
        paths = tuple(map(str, fields["paths"]))
        return Sent(fields["batch"], fields["address"], float(fields["at"]), paths, str(fields.get("tail", "")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
