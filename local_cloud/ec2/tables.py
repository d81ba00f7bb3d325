"""What moto's EC2 reads when it is imported, read sparingly.

The tables of which instance types there are in which zones cost 45 MB and a tenth of a start for all thirty regions:
this cloud has one. The list of regions is asked of three boto3 sessions, each of which reads all of AWS' endpoints,
a quarter of a second in all: here one session answers.
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
    """Import moto's EC2 within: it finds the tables of other regions empty, and one session for all that ask."""
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
