"""The command line: its options, parsed and checked."""

import argparse
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from local_cloud.hostile.dice import SCALE, Hostility

PLAIN_WORDS = "--let-anyone-who-reaches-it-run-programs-here"


@dataclass(frozen=True)
class Arguments:
    state_dir: Path
    host: str
    region: str
    images: dict[str, Path]
    boot_seconds: float
    grace_seconds: float
    cron_seconds: float
    forget_seconds: float
    port: int
    services_port: int
    metadata_port: int
    machines: bool
    """Whether instances are machines and not process trees."""
    hostility: Hostility | None


def _address(text: str) -> str:
    if text == "localhost":
        return "127.0.0.1"
    try:
        ipaddress.IPv4Address(text)
    except ipaddress.AddressValueError:
        raise argparse.ArgumentTypeError(f"{text} is not an IPv4 address") from None
    return text


def _image(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=FOLDER")
    if not Path(folder).is_dir():
        raise argparse.ArgumentTypeError(f"{folder} is not a folder")
    return name, Path(folder)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number") from None
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return seconds


def parse(arguments: list[str]) -> Arguments:
    """Parse the options. Wrong ones end the process with status 2 and one line that says why."""
    parser = argparse.ArgumentParser(prog="python -m local_cloud", description="AWS on one machine.")
    parser.add_argument("--state-dir", type=Path, required=True, help="where everything is kept")
    parser.add_argument("--host", type=_address, default="127.0.0.1", help="loopback address to listen on")
    parser.add_argument(
        PLAIN_WORDS,
        action="store_true",
        dest="beyond",
        help="allow --host to be another address: nobody is asked for a key, and instances run with your rights",
    )
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--image", type=_image, action="append", default=[], metavar="NAME=FOLDER", dest="images")
    parser.add_argument("--boot-seconds", type=_seconds, default=1.0, help="how long an instance is pending")
    parser.add_argument(
        "--grace-seconds", type=_seconds, default=30.0, help="time from SIGTERM to SIGKILL when an instance ends"
    )
    parser.add_argument("--cron-seconds", type=_seconds, default=60.0, help="length of a minute, for cron files")
    parser.add_argument(
        "--forget-seconds", type=_seconds, default=3600.0, help="how long a terminated instance can be described"
    )
    parser.add_argument("--port", type=int, default=0, help="EC2 and friends; 0 finds a free one")
    parser.add_argument("--services-port", type=int, default=0, help="S3, SQS and friends; 0 finds a free one")
    parser.add_argument("--metadata-port", type=int, default=0, help="instance metadata; 0 finds a free one")
    parser.add_argument(
        "--instances",
        choices=("process", "machine"),
        default="process",
        help="what an instance is: a process tree, or a machine that systemd boots (needs root and systemd-nspawn)",
    )
    _add_hostile(parser)
    values = vars(parser.parse_args(arguments))
    values["images"] = dict(values["images"])
    values["machines"] = values.pop("instances") == "machine"
    if not values.pop("beyond") and not ipaddress.IPv4Address(values["host"]).is_loopback:
        parser.error(
            f"argument --host: {values['host']} is not a loopback address: this cloud runs any program it is sent, "
            f"so it listens on this machine only, unless you say {PLAIN_WORDS}"
        )
    if values["cron_seconds"] <= 0:
        parser.error("--cron-seconds must be more than 0")
    try:
        values["hostility"] = _hostility(*(values.pop(name) for name in ("seed", "only", "rate", "scale")))
    except ValueError as error:
        parser.error(str(error))
    if values["machines"] and values["hostility"]:
        parser.error("--hostile is for instances that are process trees, not for machines")
    return Arguments(**values)


def _factor(text: str) -> float:
    try:
        factor = float(text)
    except ValueError:
        factor = -1.0
    if not 0 <= factor <= 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a factor: expected a number from 0 to 1e9")
    return factor


def _add_hostile(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("hostile mode, which lies and fails as the real cloud does")
    group.add_argument("--hostile", type=int, metavar="SEED", dest="seed", help="switch it on; off by default")
    group.add_argument("--hostile-only", metavar="NAME,...", dest="only", default="", help="only these faults")
    group.add_argument(
        "--hostile-rate",
        type=_factor,
        metavar="FACTOR",
        dest="rate",
        default=1.0,
        help="multiply the rate of every fault",
    )
    group.add_argument(
        "--hostile-scale", type=_factor, metavar="FACTOR", dest="scale", default=SCALE, help="length of a minute"
    )


def _hostility(seed: int | None, only: str, rate: float, scale: float) -> Hostility | None:
    names = tuple(name.strip() for name in only.split(",") if name.strip())
    return None if seed is None else Hostility(seed, names, rate, scale)
