"""moto's tables of which instance types there are in which zones: read for one region, not for all thirty.

It reads them when it is imported. Those of other regions cost 45 MB and a tenth of a start; this cloud has one region.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

import moto.utilities.utils as loader


@contextmanager
def tables_of(region: str) -> Iterator[None]:
    """Import moto's EC2 within: it finds the tables of other regions empty."""
    load = loader.load_resource

    def load_own(resource: str) -> Any:
        path = PurePath(resource)
        if "instance_type_offerings" in path.parts and path.name.partition(".")[0] != region:
            return []
        return load(resource)

    loader.load_resource = load_own
    try:
        yield
    finally:
        loader.load_resource = load
