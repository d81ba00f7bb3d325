"""`python -m benchmarks.fuzzing`: a million runs of all targets together, guided by atheris; status 1 when one breaks.

Each target runs in a process of its own, from the inputs in `tests/fuzz_corpus/`. What breaks one is written there, as
`crash-...`: the test that runs the corpus fails from then on.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent.parent
CORPUS = ROOT / "tests" / "fuzz_corpus"
NAMES = ("multipart", "submission", "messages", "image_headers", "address")
PACKAGES = ["web_tier.intake", "web_tier.outside", "shoal", "inference", "app_tier.bucket_events"]
LONGEST_BYTES = 4_096
LONGEST_SECONDS = 10  # for one input


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.option("--runs", default=1_000_000, show_default=True, help="Of all targets together.")
@click.option("--minutes", default=10.0, show_default=True, help="At most, of all targets together.")
@click.option("--atheris", "folder", type=click.Path(path_type=Path), help="The folder that atheris is installed in.")
@click.option("--target", help="Run this one in this process.")
def main(runs: int, minutes: float, folder: Path | None, target: str | None) -> None:
    """Run the targets."""
    if folder:
        sys.path.append(str(folder))
    if target:
        _run(target)
        return
    table = Table("reader", "runs", "seconds", "broke", box=None)
    broken = 0
    for name in NAMES:
        began = time.monotonic()
        told, status = _fuzz(name, runs // len(NAMES), minutes * 60 / len(NAMES), folder)
        done = re.findall(r"^#(\d+)", told, re.MULTILINE)
        broken += status != 0
        table.add_row(
            name, f"{int(done[-1]) if done else 0:,}", f"{time.monotonic() - began:.0f}", "yes" if status else "no"
        )
        if status:
            print(told[-4_000:])
    Console().print(table)
    sys.exit(bool(broken))


def _fuzz(name: str, runs: int, seconds: float, folder: Path | None) -> tuple[str, int]:
    """What libFuzzer said, and its status."""
    seeds = CORPUS / name
    with tempfile.TemporaryDirectory() as found:
        command = [sys.executable, "-m", "benchmarks.fuzzing", "--target", name]
        command += ["--atheris", str(folder)] if folder else []
        options = [f"-runs={runs}", f"-max_total_time={seconds:.0f}", f"-max_len={LONGEST_BYTES}"]
        options += [f"-timeout={LONGEST_SECONDS}", "-rss_limit_mb=2048", "-seed=1", f"-artifact_prefix={seeds}/"]
        command += ["--", *options, found, str(seeds)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
    return done.stderr + done.stdout, done.returncode


def _run(name: str) -> None:
    import atheris

    with atheris.instrument_imports(include=PACKAGES):
        from benchmarks.fuzzing.targets import TARGETS
    atheris.Setup([sys.argv[0], *sys.argv[sys.argv.index("--") + 1 :]], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
