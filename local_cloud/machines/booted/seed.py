"""What a machine finds on its disk at each boot, beside its image: its name, and where this cloud is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

CLOUD_INIT = """\
# A machine of the embedded cloud: its network is there before it boots, and no hardware says that it is EC2.
network: {config: disabled}
datasource_list: [Ec2]
datasource: {Ec2: {strict_id: false, timeout: 5, max_wait: 60}}
"""


def _make_folders(root: Path, folder: Path) -> None:
    """Make `folder` and those above it, down from `root`, so that all users of the machine can pass."""
    for path in (root, *reversed([one for one in folder.parents if one.is_relative_to(root)]), folder):
        path.mkdir(exist_ok=True)
        path.chmod(0o755)


def write(root: Path, identifier: str, endpoints: Mapping[str, str]) -> None:
    """Write the files below `root`. `endpoints` are variables for every unit and for cron's jobs."""
    lines = "".join(f"{name}={value}\n" for name, value in endpoints.items())
    quoted = " ".join(f'"{name}={value}"' for name, value in endpoints.items())
    files = {
        "etc/machine-id": hashlib.md5(identifier.encode(), usedforsecurity=False).hexdigest() + "\n",
        "etc/environment": lines,
        "etc/systemd/system.conf.d/local-cloud.conf": f"[Manager]\nDefaultEnvironment={quoted}\n",
        "etc/cloud/cloud.cfg.d/99_local-cloud.cfg": CLOUD_INIT,
    }
    for name, text in files.items():
        path = root / name
        _make_folders(root, path.parent)
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o644)
