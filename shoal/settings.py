"""The only reader of the environment. Everything else is handed a `Settings`."""

from __future__ import annotations

import base64
import binascii
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from shoal.errors import SettingsError

T = TypeVar("T")

MAX_BUCKET_NAME = 63  # S3's own limit
WEBHOOK_PREFIX = "whsec_"
LEAST_SECRET = 16


@dataclass(frozen=True)
class Settings:
    """Shoal's settings. Each field `name` is read from the environment variable `SHOAL_NAME`."""

    host: str = "127.0.0.1"
    port: int = 8000
    prefix: str = "shoal"
    state_dir: Path = Path(".shoal")
    cache_dir: Path = Path("~/.cache/shoal")
    log_level: str = "INFO"
    env_file: Path | None = None  # what the controller reads again on SIGHUP; <state_dir>/settings.env when unset

    min_instances: int = 0
    max_instances: int = 15
    quiet_seconds: float = 10.0
    tick_seconds: float = 1.0
    drain_seconds: float = 300.0
    launch_seconds: float = 30.0
    lease_seconds: float = 10.0
    beat_seconds: float = 2.0
    drain_by: str = "tag"
    metrics_port: int = 0  # of the controller's /metrics on this machine; 0 for none
    cloudwatch: str = "off"  # or "file", in the embedded metric format; or "put", by PutMetricData
    terminate_seconds: float = 5.0
    sweep_seconds: float = 60.0
    sweep_days: float = 4.0

    policy: str = "deadline"
    target_seconds: float = 60.0  # the wait to aim for (deadline, schedule, backlog_per_instance)
    qos: float = 5.0  # messages that one worker is meant for (qos)
    scale_factor: float = 1.0  # the share of a change that is made at once (qos)
    steps: str = "1:1 10:3 50:8 200:15"  # backlog:workers (step)
    schedule: str = ""  # minimums: "Mon-Fri 08:00-18:00 3; Sat,Sun 10:00-14:00 1" (schedule)
    time_zone: str = "UTC"  # whose clocks the schedule means
    window_seconds: float = 10.0  # a pool shrinks to the largest need within this time; to zero after quiet_seconds
    tolerance: float = 0.05  # a pool that is too large by less than this share is left as it is
    expected_service_seconds: float = 0.5  # what a photo costs a worker, believed until measured
    expected_boot_seconds: float = 30.0  # from launch to registration, believed until measured
    boot_seconds: float = 300.0  # an instance that has not registered by then is replaced
    silent_seconds: float = 90.0  # a worker that was not heard for so long is replaced

    budget_amount: float = 0.0  # what instances may cost in a period, in the price's currency; 0 for no limit
    budget_period: str = "month"  # hour, day, week or month, by UTC
    price_per_hour: float = 0.0  # of one instance; 0 for the price that is known for its type

    model: str = "resnet50"
    models: str = ""  # names of further models that a request may choose, divided by commas
    model_weights: Path | None = None
    engine: str = "openvino"
    precision: str = "auto"  # int8 where `shoal models quantize` made it, else float32; or one of the two

    venue: str = "pool"
    answer_seconds: float = 300.0
    web_threads: int = 640
    max_file_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 50_000_000
    fetch_seconds: float = 15.0
    fetch_own: str = ""
    direct_uploads: str = "auto"  # photos straight to the bucket: on, off, or auto, where the store is fit for it
    webhook_secret: str = field(default="", repr=False)  # whsec_<base64>; several, to change it, divided by commas
    webhook_seconds: float = 86_400.0  # for so long a webhook that is not taken is tried again
    operator_secret: str = field(default="", repr=False)  # signs in on the fleet page; unset, nobody can act there

    visibility_seconds: int = 30
    max_deliveries: int = 5
    stall_seconds: float = 300.0  # a worker that holds messages so long and is done with none ends, as after a fault
    answer_cache: int = 1000  # answers that a worker remembers for identical bytes; 0 for none
    otlp_endpoint: str = ""  # base address of an OpenTelemetry collector; also OTEL_EXPORTER_OTLP_ENDPOINT

    ami: str = ""
    instance_type: str = "t3.medium"
    instance_profile: str = ""
    subnet: str = ""
    spot_share: float = 0.0
    capacity_seconds: float = 180.0
    actuator: str = "ec2"
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
    def term_queue(self) -> str:
        """Terminate messages, when workers are asked to leave by a queue."""
        return f"{self.prefix}-term-queue"

    @property
    def pool_table(self) -> str:
        """The register of the workers, and the controllers' lease."""
        return f"{self.prefix}-pool"

    @property
    def image(self) -> str:
        """The machine image that instances start from: an AMI id, or the name of an image of our own."""
        return self.ami or f"{self.prefix}-worker"

    @property
    def instance_types(self) -> tuple[str, ...]:
        """The kinds of machine to ask for, in the order of preference: SHOAL_INSTANCE_TYPE, divided by commas."""
        return _list(self.instance_type)

    @property
    def places(self) -> tuple[str, ...]:
        """Where machines may stand: SHOAL_SUBNET, subnets' ids or availability zones' names, divided by commas."""
        return _list(self.subnet)

    @property
    def launch_template(self) -> str:
        """What instances are launched from."""
        return f"{self.prefix}-worker"

    @property
    def scaling_group(self) -> str:
        """The Auto Scaling group, for those whose workers live in one."""
        return f"{self.prefix}-workers"

    @property
    def role(self) -> str:
        """The instance profile, and role, that gives workers their permissions."""
        return self.instance_profile or f"{self.prefix}-worker"

    @property
    def served_models(self) -> tuple[str, ...]:
        """The models that a request may name, the default first."""
        return tuple(dict.fromkeys((self.model, *_list(self.models))))

    @property
    def fetch_own_places(self) -> frozenset[str]:
        """The "host:port" places that photos are fetched from although they are not on the public internet."""
        return frozenset(_list(self.fetch_own))

    @property
    def webhook_keys(self) -> tuple[bytes, ...]:
        """The keys that webhooks are signed with; none when there are no webhooks. Raises SettingsError."""
        return tuple(_webhook_key(secret) for secret in _list(self.webhook_secret))

    def for_worker(self) -> dict[str, str]:
        """The variables that an instance's boot file must carry."""
        names = (
            "prefix",
            "model",
            "models",
            "engine",
            "precision",
            "log_level",
            "visibility_seconds",
            "stall_seconds",
            "beat_seconds",
            "drain_by",
            "terminate_seconds",
            "max_file_bytes",
            "max_pixels",
            "answer_cache",
            "otlp_endpoint",
        )
        values = {variable(name): str(getattr(self, name)) for name in names}
        if self.model_weights is not None:
            # The image must hold the same file at the same place; an embedded cloud's instances share our disk.
            values[variable("model_weights")] = str(self.model_weights.absolute())
        return values


def variable(field_name: str) -> str:
    """The environment variable that a setting is read from."""
    return f"SHOAL_{field_name.upper()}"


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _webhook_key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(WEBHOOK_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if secret.startswith(WEBHOOK_PREFIX) and 24 <= len(key) <= 64:
        return key
    raise SettingsError(
        f"SHOAL_WEBHOOK_SECRET: expected {WEBHOOK_PREFIX} and 24 to 64 bytes in base64; "
        f'`echo "{WEBHOOK_PREFIX}$(openssl rand -base64 32)"` makes one'
    )


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
    "target_seconds": 0.1,
    "qos": 0.001,
    "scale_factor": 0.01,
    "window_seconds": 0,
    "tolerance": 0,
    "expected_service_seconds": 0.001,
    "expected_boot_seconds": 0.1,
    "boot_seconds": 1,
    "silent_seconds": 1,
    "budget_amount": 0,
    "price_per_hour": 0,
    "launch_seconds": 1,
    "lease_seconds": 1,
    "beat_seconds": 0.1,
    "metrics_port": 0,
    "terminate_seconds": 1,
    "sweep_seconds": 1,
    "sweep_days": 0.001,
    "answer_seconds": 1,
    "web_threads": 4,
    "max_file_bytes": 1,
    "max_pixels": 1,
    "fetch_seconds": 0.1,
    "webhook_seconds": 1,
    "visibility_seconds": 3,
    "max_deliveries": 1,
    "stall_seconds": 1,
    "answer_cache": 0,
    "local_boot_seconds": 0,
    "spot_share": 0,
    "capacity_seconds": 1,
}

_MOST: dict[str, float] = {
    "port": 65535,
    "metrics_port": 65535,
    "spot_share": 1,
    "max_instances": 10_000,
    "visibility_seconds": 43_200,
    "web_threads": 2_000,
    "scale_factor": 1,
    "tolerance": 0.5,
}


_CHOICES: dict[str, tuple[str, ...]] = {
    "direct_uploads": ("auto", "on", "off"),
    "precision": ("auto", "float32", "int8"),
    "actuator": ("ec2", "autoscaling"),
    "cloudwatch": ("off", "file", "put"),
    "drain_by": ("tag", "queue"),
}


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
    values.setdefault("otlp_endpoint", environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip())
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
    for name, known in _CHOICES.items():
        if getattr(settings, name) not in known:
            raise SettingsError(f"{variable(name)}={getattr(settings, name)!r}: expected {' or '.join(known)}")
    _check_controller(settings)
    _check_prefix(settings)
    _ = settings.webhook_keys
    if 0 < len(settings.operator_secret) < LEAST_SECRET:
        raise SettingsError(
            f"SHOAL_OPERATOR_SECRET: expected at least {LEAST_SECRET} letters, for it can be guessed at"
        )
    if settings.otlp_endpoint and not settings.otlp_endpoint.startswith(("http://", "https://")):
        raise SettingsError(f"SHOAL_OTLP_ENDPOINT={settings.otlp_endpoint!r}: expected http://host:port or https://...")
    if settings.model_weights is not None and not settings.model_weights.is_file():
        raise SettingsError(f"SHOAL_MODEL_WEIGHTS={str(settings.model_weights)!r}: there is no such file")


def _check_prefix(settings: Settings) -> None:
    plain = settings.prefix.replace("-", "")
    if not (plain.isascii() and plain.isalnum() and plain == plain.lower() and settings.prefix[0] != "-"):
        raise SettingsError(f"SHOAL_PREFIX={settings.prefix!r}: expected small letters, digits and hyphens")
    if len(settings.out_bucket) > MAX_BUCKET_NAME:
        raise SettingsError(f"SHOAL_PREFIX={settings.prefix!r}: too long, a bucket's name has at most 63 characters")


def _check_controller(settings: Settings) -> None:
    if settings.lease_seconds < 2 * settings.tick_seconds:
        raise SettingsError(
            f"SHOAL_LEASE_SECONDS={settings.lease_seconds:g}: expected at least twice SHOAL_TICK_SECONDS, for a "
            "controller renews its lease in its ticks"
        )
    if settings.drain_by == "queue" and settings.actuator != "ec2":
        # A worker that leaves by itself while it is in a group is replaced by the group.
        raise SettingsError("SHOAL_DRAIN_BY='queue' goes with SHOAL_ACTUATOR='ec2' only")


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


def load_with_own_file() -> Settings:
    """`load_with_env_file`, under what the file SHOAL_ENV_FILE (or `<state_dir>/settings.env`) says, when it is there.

    A running process's environment cannot be changed, a file can: this one wins, and is read again at a reload.
    Raises SettingsError, for a name that is not a setting as well.
    """
    chosen = load_with_env_file()
    path = chosen.env_file or chosen.state_dir / "settings.env"
    own = read_env_file(path)
    known = {variable(setting.name) for setting in fields(Settings)}
    for name in own:
        if name not in known:
            raise SettingsError(f"{name} in {path} is not a setting")
    return load({**os.environ, **own})
