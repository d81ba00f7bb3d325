"""Makes the import of moto's EC2 cheaper.

moto loads the tables of instance types by zone for all thirty regions: 45 MB and a tenth of the start. This cloud has
one region. moto also makes three boto3 sessions for the list of regions, and each reads all of AWS' endpoints, a
quarter of a second in all: here one session serves all three.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import PurePath
from typing import Any

import boto3
import moto.utilities.utils as loader


@contextmanager
def tables_of(region: str) -> Iterator[None]:
    """Import moto's EC2 in this context: the tables of other regions are empty, and sessions are shared."""
    load, session = loader.load_resource, boto3.Session

    def load_own(resource: str) -> Any:
        path = PurePath(resource)
        if "instance_type_offerings" in path.parts and path.name.partition(".")[0] != region:
            return []
        return load(resource)

    loader.load_resource = load_own
    boto3.Session = cache(session)
    try:
        yield
    finally:
        loader.load_resource = load
        boto3.Session = session
