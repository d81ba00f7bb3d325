"""The wheel: what is in it, and that it runs away from the checkout."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from benchmarks.running.system import RunningSystem
from shoal_cli._requirements import pins
from tests.waiting import wait_for

ROOT = Path(__file__).parent.parent
PACKAGES = {
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
}
FOLDERS = {"ami", "requirements", "static", "templates"}
SECONDS = 120.0


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command without the checkout on its path."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command, cwd=cwd, env=clean | environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def project_files() -> list[Path]:
    """The files of the project, those that are not committed yet included."""
    listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True)
    return [path for path in map(Path, listed.splitlines()) if (ROOT / path).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the project."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for path in project_files():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, source / path)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = run(*pip, "--wheel-dir", built, source, cwd=built)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel in it; the packages that it needs are borrowed from this one."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home)
    python = home / "bin" / "python"
    done = run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel, cwd=home)
    assert done.returncode == 0, done.stderr
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return home


class InstalledSystem(RunningSystem):
    """`shoal up` as it was installed from the wheel, called in an empty folder."""

    def __init__(self, home: Path, folder: Path, state_dir: Path) -> None:
        super().__init__(state_dir)
        self.environment.pop("PYTHONPATH", None)
        self._home, self._folder = home, folder

    def spawn(self) -> subprocess.Popen[bytes]:
        self.state_dir.mkdir(parents=True)
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [self._home / "bin" / "shoal", "up"],
                cwd=self._folder, env=self.environment, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        return self._process


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a user is in: nothing in it but a file with an unlucky name."""
    folder = tmp_path_factory.mktemp("empty")
    (folder / "controller.py").write_text("raise SystemExit('the wrong controller')\n")
    return folder


@pytest.fixture
def system(installed: Path, empty: Path, tmp_path: Path) -> Iterator[InstalledSystem]:
    system = InstalledSystem(installed, empty, tmp_path / "state")
    system.start()
    yield system
    assert system.stop() == 0


def test_it_holds_the_packages_and_their_files_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = set()
    for path in project_files():
        if path.parts[0] in PACKAGES and path.suffix != ".md":
            expected.add(path.as_posix())
        elif path.parts[0] in FOLDERS:
            expected.add(f"shoal/data/{path.as_posix()}")

    assert packed == expected


def test_it_needs_what_requirements_txt_pins(wheel: Path) -> None:
    (distribution,) = importlib.metadata.distributions(path=[str(wheel)])

    assert sorted(distribution.requires or []) == pins(ROOT / "requirements.txt")


def test_a_missing_package_is_installed_as_shoal_was(installed: Path, empty: Path) -> None:
    ask = ("-c", "from shoal.folders import install_packages; print(install_packages())")
    told = run(installed / "bin" / "python", *ask, cwd=empty)
    assert told.stdout == "install shoal again, as it was installed (pip, pipx or uv)\n", told.stderr
    assert run(sys.executable, *ask, cwd=ROOT).stdout == "run `make run`, or pip install -r requirements.txt\n"


def test_the_commands_are_there(installed: Path, empty: Path) -> None:
    shoal = installed / "bin" / "shoal"
    told = run(shoal, "--help", cwd=empty)
    version = run(shoal, "--version", cwd=empty)
    settings = run(shoal, "settings", cwd=empty, SHOAL_PORT="8123")

    assert (told.returncode, version.returncode, settings.returncode) == (0, 0, 0), told.stderr + settings.stderr
    assert re.search(r"SHOAL_PORT\W+8123", settings.stdout)
    assert re.findall(r"^  (up|down|doctor|classify|models) ", told.stdout, re.MULTILINE) == [
        "classify", "doctor", "down", "models", "up",
    ]  # fmt: skip
    assert version.stdout.endswith(f"{importlib.import_module('shoal').__version__}\n")


@pytest.mark.timeout(300)
def test_it_runs_to_the_first_label_away_from_the_checkout(
    system: InstalledSystem, installed: Path, empty: Path
) -> None:
    photo = ROOT / "static" / "examples" / "cat.jpg"
    with photo.open("rb") as file:
        answer = requests.post(system.address, files={"inputFile": ("cat.jpg", file)}, timeout=SECONDS)
    page = requests.get(system.address, timeout=SECONDS).text
    sheet = re.search(r'href="(/static/shoal.css[^"]*)"', page)
    wait_for(system.workers, SECONDS, "no worker runs")
    doctor = run(installed / "bin" / "shoal", "doctor", cwd=empty, **system.environment)

    assert re.fullmatch(r"cat:\w*cat\w*|cat:tabby", answer.text.strip()), answer.text
    assert sheet is not None
    assert requests.get(system.address + sheet[1], timeout=SECONDS).ok
    assert doctor.stdout.endswith("Everything is in order.\n"), doctor.stdout
    assert "packages: as pinned" in doctor.stdout
    commands = [" ".join(process.cmdline()) for process in system.processes()]
    assert not [command for command in commands if str(ROOT / "ami") in command or str(ROOT / "local_cloud") in command]
