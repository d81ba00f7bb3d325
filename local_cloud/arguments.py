"""The command line, checked."""

import argparse
import ipaddress
from dataclasses import dataclass
from pathlib import Path


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


def _loopback(text: str) -> str:
    if text == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.IPv4Address(text)
    except ipaddress.AddressValueError:
        raise argparse.ArgumentTypeError(f"{text} is not an IPv4 address") from None
    if not address.is_loopback:
        raise argparse.ArgumentTypeError(
            f"{text} is not a loopback address: this cloud runs whatever it is sent, so it listens on this machine only"
        )
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
    """Leaves the process with status 2 and a line that says why when they are wrong."""
    parser = argparse.ArgumentParser(prog="python -m local_cloud", description="AWS on one machine.")
    parser.add_argument("--state-dir", type=Path, required=True, help="where everything is kept")
    parser.add_argument("--host", type=_loopback, default="127.0.0.1", help="loopback address to listen on")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--image", type=_image, action="append", default=[], metavar="NAME=FOLDER", dest="images")
    parser.add_argument("--boot-seconds", type=_seconds, default=1.0, help="how long an instance is pending")
    parser.add_argument("--grace-seconds", type=_seconds, default=30.0, help="from SIGTERM to SIGKILL at an end")
    parser.add_argument("--cron-seconds", type=_seconds, default=60.0, help="length of a minute, for cron files")
    parser.add_argument("--forget-seconds", type=_seconds, default=3600.0, help="how long terminated ones are shown")
    parser.add_argument("--port", type=int, default=0, help="EC2 and friends; 0 finds a free one")
    parser.add_argument("--services-port", type=int, default=0, help="S3, SQS and friends; 0 finds a free one")
    parser.add_argument("--metadata-port", type=int, default=0, help="instance metadata; 0 finds a free one")
    values = vars(parser.parse_args(arguments))
    values["images"] = dict(values["images"])
    if values["cron_seconds"] <= 0:
        parser.error("--cron-seconds must be more than 0")
    return Arguments(**values)
