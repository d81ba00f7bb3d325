"""Which photos of a batch a page shows, and in which order. Pure.

A script gets each photo's choices and sort keys from here, in its card, and compares them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from shoal.messages import readable
from web_tier.results import timeline
from web_tier.results.batches import Photo

PAGE_PHOTOS = 200  # drawn by the server at a time; the page's script fetches the others as data

SHOWN: dict[str, tuple[str, Callable[[Photo], bool]]] = {
    "all": ("All", lambda _: True),
    "done": ("Labelled", lambda photo: photo.state == "done"),
    "failed": ("Failed", lambda photo: photo.state == "failed" and not photo.is_cancelled),
    "cancelled": ("Cancelled", lambda photo: photo.is_cancelled),
    "warned": ("With a warning", lambda photo: bool(photo.warnings)),
}

# Keys are texts or numbers, so that a script sorts by them as well. What is not answered yet comes last.
ORDERS: dict[str, tuple[str, Callable[[Photo], str | float]]] = {
    "sent": ("Order sent", lambda _: 0),
    "name": ("Name", lambda photo: photo.job.name.casefold()),
    "label": ("Label", lambda photo: f"{int(photo.state != 'done')}{readable(says(photo)).casefold()}"),
    "sure": ("Least sure first", lambda photo: 2.0 if photo.share is None else photo.share),
    "slow": ("Slowest first", lambda photo: -timeline.total(photo.seconds)),
}


@dataclass(frozen=True, slots=True)
class View:
    """A person's choice. show, sort: keys of SHOWN and ORDERS. text: part of a name or label. page: counted from 1."""

    show: str = "all"
    sort: str = "sent"
    text: str = ""
    page: int = 1

    @classmethod
    def of(cls, query: Mapping[str, str]) -> View:
        """Read the choice from an address; invalid values count as absent."""
        show, sort, page = query.get("show", ""), query.get("sort", ""), query.get("page", "")
        return cls(
            show if show in SHOWN else "all",
            sort if sort in ORDERS else "sent",
            query.get("text", "").strip()[:100],
            max(1, int(page)) if page.isascii() and page.isdigit() and len(page) < 6 else 1,
        )

    @property
    def plain(self) -> bool:
        """Whether it is the choice that a page begins with."""
        return self == View()

    def found(self, photos: Sequence[Photo]) -> list[Photo]:
        """The photos that it shows, on all its pages, in its order."""
        fits, wanted = SHOWN[self.show][1], self.text.casefold()
        some = [one for one in photos if fits(one) and (not wanted or _has(one, wanted))]
        return sorted(some, key=ORDERS[self.sort][1])

    def on_its_page(self, found: Sequence[Photo]) -> Sequence[Photo]:
        """Of the photos that it shows, those on its page."""
        start = (self.page - 1) * PAGE_PHOTOS
        return found[start : start + PAGE_PHOTOS]

    def query(self, page: int) -> dict[str, str | int]:
        """The query parameters for another page of this view."""
        return {"show": self.show, "sort": self.sort, "text": self.text, "page": page}


def pages_of(found: Sequence[Photo]) -> int:
    """The number of pages that `found` needs."""
    return -(-len(found) // PAGE_PHOTOS)


def page_of(index: int) -> int | None:
    """The page of a photo in a view that was not changed; None for the first, which an address need not name."""
    return index // PAGE_PHOTOS + 1 if index >= PAGE_PHOTOS else None


def says(photo: Photo) -> str:
    """The label of a photo: a person's correction, else the model's; empty before there is one."""
    return photo.correction or (photo.label if photo.state == "done" else "")


def _has(photo: Photo, wanted: str) -> bool:
    return any(wanted in words for words in words_of(photo))


def words_of(photo: Photo) -> list[str]:
    """What is searched, in small letters: name, label and correction."""
    label, people = (photo.label, photo.readable) if photo.state == "done" else ("", "")
    words = (photo.job.name, label, people if people != label else "", photo.correction)
    return [word.casefold() for word in words if word]
