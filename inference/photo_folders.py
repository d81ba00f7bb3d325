"""Lists the files of a folder without what operating systems and storage boxes leave behind, and makes names readable.

`shoal classify` and `shoal train` read folders with it, so both take and skip the same files.
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

# macOS, Windows, Synology, QNAP and Linux; in lower case.
SYSTEM_NAMES = frozenset(
    [
        "__macosx",
        "icon\r",
        "thumbs.db",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "@eadir",
        "@tmp",
        "@recycle",
        "@recently-snapshot",
        "#recycle",
        "#snapshot",
        "lost+found",
    ]
)
_UNDECODED = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The files of a folder and its subfolders, sorted; and how many system files and folders were left out.

    A folder that is left out counts once, whatever is in it.
    """

    files: list[Path]
    leftovers: int


def is_system_file(name: str) -> bool:
    """Whether systems make files or folders of this name by themselves."""
    return name.startswith("._") or name.lower() in SYSTEM_NAMES


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is hidden or made by a system."""
    return name.startswith(".") or is_system_file(name)


def list_files(folder: Path) -> FolderFiles:
    """List every file below `folder`. Links to folders are not followed."""
    files: list[Path] = []
    leftovers = 0
    for current, inner, names in os.walk(folder):
        leftovers += sum(map(is_leftover, (*inner, *names)))
        inner[:] = [name for name in inner if not is_leftover(name)]
        files += [Path(current) / name for name in names if not is_leftover(name)]
    return FolderFiles(sorted(files), leftovers)


def tell_leftovers(count: int) -> str:
    """Say in words that `count` system files and folders were left out."""
    return f"passed over {count} hidden or system files and folders (such as .DS_Store, Thumbs.db, @eaDir)"


def readable(name: str | Path) -> str:
    """Return a name from the disk as text that can be printed and stored as UTF-8.

    Python keeps each byte that is not UTF-8 as a lone surrogate. Such bytes are read as Windows-1252, the most common
    of the older encodings. What that does not know becomes U+FFFD.
    """
    return _UNDECODED.sub(lambda found: os.fsencode(found[0]).decode("cp1252", errors="replace"), str(name))


def class_name(folder: Path) -> str:
    """Return the class of a folder: its readable name, composed (NFC), because macOS decomposes letters like ä."""
    return unicodedata.normalize("NFC", readable(folder.name))
