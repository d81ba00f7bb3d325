"""What pyproject.toml cannot say: folders that are mapped into the package, and pins read from requirements files."""

import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup

sys.path.insert(0, str(Path(__file__).parent))
from shoal_cli._requirements import pins

PACKAGES = (
    "shoal",
    "shoal_cli",
    "inference",
    "app_tier",
    "controller",
    "web_tier",
    "local_cloud",
    "comparison",
    "simulator",
    "runs",
)
FOLDERS = ("ami", "requirements", "static", "templates")  # shoal/folders.py finds them

# setuptools packs whatever an earlier build left here, files that exist no more included.
shutil.rmtree("build/lib", ignore_errors=True)

setup(
    packages=find_packages(include=[pattern for name in PACKAGES for pattern in (name, f"{name}.*")])
    + [f"shoal.data.{name}" for name in FOLDERS],
    package_dir={f"shoal.data.{name}": name for name in FOLDERS},
    package_data={
        "": ["py.typed", "*.csv", "*.json", "*.toml"],
        "local_cloud.hostile": ["clock/*.py"],
        **{f"shoal.data.{name}": ["**/*"] for name in FOLDERS},
    },
    include_package_data=False,
    install_requires=pins(Path("requirements.txt")),
)
