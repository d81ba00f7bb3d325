"""The only reader of the environment. Everything else is handed a `Settings`."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from shoal.errors import SettingsError

T = TypeVar("T")

MAX_BUCKET_NAME = 63  # S3's own limit


@dataclass(frozen=True)
class Settings:
    """Shoal's settings. Each field `name` is read from the environment variable `SHOAL_NAME`."""

    host: str = "127.0.0.1"
    port: int = 8000
    prefix: str = "shoal"
    state_dir: Path = Path(".shoal")
    cache_dir: Path = Path("~/.cache/shoal")
    log_level: str = "INFO"

    min_instances: int = 0
    max_instances: int = 15
    quiet_seconds: float = 10.0
    tick_seconds: float = 1.0
    drain_seconds: float = 300.0
    launch_seconds: float = 30.0
    sweep_seconds: float = 60.0
    sweep_days: float = 4.0
    policy: str = "per_message"

    model: str = "resnet50"
    model_weights: Path | None = None
    engine: str = "openvino"

    venue: str = "pool"
    answer_seconds: float = 300.0
    web_threads: int = 256
    max_file_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 50_000_000

    visibility_seconds: int = 30
    max_deliveries: int = 5

    ami: str = ""
    instance_type: str = "t3.medium"
    instance_profile: str = ""
    subnet: str = ""
    security_group: str = ""
    key_name: str = ""
    local_boot_seconds: float = 1.0

    @property
    def in_bucket(self) -> str:
        """Where photos wait."""
        return f"{self.prefix}-in-bucket"

    @property
    def out_bucket(self) -> str:
        """Where results are kept."""
        return f"{self.prefix}-out-bucket"

    @property
    def req_queue(self) -> str:
        """Request messages."""
        return f"{self.prefix}-req-queue"

    @property
    def resp_queue(self) -> str:
        """Response messages."""
        return f"{self.prefix}-resp-queue"

    @property
    def dead_queue(self) -> str:
        """Request messages that were delivered `max_deliveries` times and never finished."""
        return f"{self.prefix}-dead-queue"

    @property
    def image(self) -> str:
        """The machine image that instances start from: an AMI id, or the name of an image of our own."""
        return self.ami or f"{self.prefix}-worker"

    @property
    def role(self) -> str:
        """The instance profile, and role, that gives workers their permissions."""
        return self.instance_profile or f"{self.prefix}-worker"

    def for_worker(self) -> dict[str, str]:
        """The variables that an instance's boot file must carry."""
        names = (
            "prefix",
            "model",
            "engine",
            "log_level",
            "visibility_seconds",
            "max_file_bytes",
            "max_pixels",
        )
        values = {variable(name): str(getattr(self, name)) for name in names}
        if self.model_weights is not None:
            # The image must hold the same file at the same place; an embedded cloud's instances share our disk.
            values[variable("model_weights")] = str(self.model_weights.absolute())
        return values


def variable(field_name: str) -> str:
    """The environment variable that a setting is read from."""
    return f"SHOAL_{field_name.upper()}"


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _seconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


_PARSERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "int": (int, "a whole number"),
    "float": (_seconds, "a number"),
    "str": (str.strip, "text"),
    "Path": (_path, "a path"),
    "Path | None": (_path, "a path"),
}

_LEAST: dict[str, float] = {
    "port": 1,
    "min_instances": 0,
    "max_instances": 1,
    "quiet_seconds": 0,
    "tick_seconds": 0.05,
    "drain_seconds": 1,
    "launch_seconds": 1,
    "sweep_seconds": 1,
    "sweep_days": 0.001,
    "answer_seconds": 1,
    "web_threads": 4,
    "max_file_bytes": 1,
    "max_pixels": 1,
    "visibility_seconds": 3,
    "max_deliveries": 1,
    "local_boot_seconds": 0,
}

_MOST: dict[str, float] = {"port": 65535, "max_instances": 10_000, "visibility_seconds": 43_200, "web_threads": 2_000}


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check the settings. An empty variable counts as unset.

    Raises SettingsError, which names the variable, what it holds and what it should hold.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    for setting in fields(Settings):
        text = environment.get(variable(setting.name), "")
        if text.strip():
            values[setting.name] = _parse(setting.name, str(setting.type), text)
    values.setdefault("cache_dir", _default_cache(environment))
    settings = Settings(**values)
    _check_together(settings)
    return settings


def _default_cache(environment: Mapping[str, str]) -> Path:
    base = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "shoal"


def _parse(name: str, kind: str, text: str) -> Any:
    parser, expected = _PARSERS[kind]
    try:
        value = parser(text)
    except ValueError:
        raise SettingsError(f"{variable(name)}={text!r}: expected {expected}") from None
    least, most = _LEAST.get(name), _MOST.get(name)
    if least is not None and value < least:
        raise SettingsError(f"{variable(name)}={text!r}: expected at least {least:g}")
    if most is not None and value > most:
        raise SettingsError(f"{variable(name)}={text!r}: expected at most {most:g}")
    return value


def _check_together(settings: Settings) -> None:
    if settings.min_instances > settings.max_instances:
        raise SettingsError(
            f"SHOAL_MIN_INSTANCES={settings.min_instances} is more than SHOAL_MAX_INSTANCES={settings.max_instances}"
        )
    if settings.log_level.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise SettingsError(f"SHOAL_LOG_LEVEL={settings.log_level!r}: expected DEBUG, INFO, WARNING or ERROR")
    plain = settings.prefix.replace("-", "")
    if not (plain.isascii() and plain.isalnum() and plain == plain.lower() and settings.prefix[0] != "-"):
        raise SettingsError(f"SHOAL_PREFIX={settings.prefix!r}: expected small letters, digits and hyphens")
    if len(settings.out_bucket) > MAX_BUCKET_NAME:
        raise SettingsError(f"SHOAL_PREFIX={settings.prefix!r}: too long, a bucket's name has at most 63 characters")
    if settings.model_weights is not None and not settings.model_weights.is_file():
        raise SettingsError(f"SHOAL_MODEL_WEIGHTS={str(settings.model_weights)!r}: there is no such file")


def read_env_file(path: Path) -> dict[str, str]:
    """The `KEY=value` lines of an env file that Shoal or its embedded cloud wrote; empty when there is none."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("'\"") for key, _, value in pairs}


def load_with_env_file(environment: Mapping[str, str] | None = None) -> Settings:
    """`load`, after what `<state_dir>/env` holds was put in this process's environment.

    That file exists while an embedded cloud runs in the state folder; it makes a program started by hand beside it
    (`python controller.py`, the CLI) find the same cloud. Variables that are set already win.
    """
    environment = os.environ if environment is None else environment
    state_dir = Path(environment.get(variable("state_dir"), "") or ".shoal").expanduser()
    found = read_env_file(state_dir / "env")
    if "AWS_ENDPOINT_URL" not in environment:
        for key, value in found.items():
            os.environ.setdefault(key, value)
    return load(environment)
