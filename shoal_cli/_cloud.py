"""The cloud of a Shoal, for commands that look at it without its web tier."""

from __future__ import annotations

import os

from shoal.aws import connect, region
from shoal.errors import Permanent
from shoal.ports import Cloud
from shoal.settings import Settings


def connect_to_running(chosen: Settings) -> Cloud:
    """Connect to the embedded cloud that runs in the state folder, or to AWS; raise Permanent if there is neither."""
    if not chosen.cloud and "AWS_ENDPOINT_URL" not in os.environ:
        try:
            region()
        except Permanent:
            told = f"Shoal is not running in {chosen.state_dir}: start it with `shoal up`"
            raise Permanent(f"{told} (for a Shoal on AWS, set AWS_DEFAULT_REGION)") from None
    return connect(chosen)
