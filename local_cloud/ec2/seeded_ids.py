"""Seeds for moto's ids. The same seed gives the same ids, so a seed that is written down gives them again."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from moto.moto_api._internal import mock_random


def new_seed() -> int:
    """A seed that nobody can guess."""
    return int.from_bytes(os.urandom(8), "big")


def begin(seed: int) -> None:
    """Make the next ids follow from `seed`. The caller holds books_lock."""
    mock_random.seed(seed)


@contextmanager
def ids_of(seed: int) -> Iterator[None]:
    """Within this context ids follow from `seed`, afterwards from a new seed. The caller holds books_lock."""
    begin(seed)
    try:
        yield
    finally:
        begin(new_seed())
