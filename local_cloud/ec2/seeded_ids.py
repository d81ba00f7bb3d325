"""Where moto's ids come from. The same seed gives the same ids, so a seed that is written down brings them back."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from moto.moto_api._internal import mock_random


def new_seed() -> int:
    """A seed that nobody can guess."""
    return int.from_bytes(os.urandom(8), "big")


def begin(seed: int) -> None:
    """From here on, the ids that follow from `seed`. The caller holds books_lock."""
    mock_random.seed(seed)


@contextmanager
def ids_of(seed: int) -> Iterator[None]:
    """The ids that follow from `seed`; afterwards new ones. The caller holds books_lock."""
    begin(seed)
    try:
        yield
    finally:
        begin(new_seed())
