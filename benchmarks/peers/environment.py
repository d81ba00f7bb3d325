"""The virtual environments of peers: with their packages, and ours to see."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path


def install(cache_dir: Path, packages: Sequence[str]) -> Path:
    """The Python of an environment with `packages` that sees our packages, too; pip makes it once."""
    home = cache_dir / "peers" / hashlib.sha256(" ".join(packages).encode()).hexdigest()[:16]
    if not (home / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages]
        subprocess.run(pip, check=True)
        (home / "ready").touch()
    site = home / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (site / "shoal.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return home / "bin" / "python"
