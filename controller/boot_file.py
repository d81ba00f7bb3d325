"""The user data of a worker instance: the image's boot script and the settings that the controller hands over."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from shoal.folders import folder

TEMPLATE = folder("ami") / "user-data.sh"
PLACE = "@ENVIRONMENT@"


def render(environment: Mapping[str, str]) -> str:
    """The script that cloud-init runs as root at the first start, with `environment` in the worker's env file."""
    lines = "\n".join(f"{name}={shlex.quote(value)}" for name, value in sorted(environment.items()))
    return TEMPLATE.read_text().replace(PLACE, lines)
