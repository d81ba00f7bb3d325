"""All settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from shoal.settings.declaration import declared, setting
from shoal.settings.resource_names import ResourceNames
from shoal.settings.values import bucket_folder, is_loopback, listed, webhook_key

GROUPS = {
    "service": "Every program",
    "pool": "How many workers: the policy and its limits",
    "budget": "What workers may cost",
    "controller": "The controller",
    "worker": "The workers",
    "web": "The page and the API",
    "cloud": "The instances",
    "lambda": "The venue `lambda`",
    "local": "The embedded cloud of `shoal up`",
}

_service = partial(setting, "service")
_pool = partial(setting, "pool", reload=True)
_budget = partial(setting, "budget", reload=True)
_controller = partial(setting, "controller")
_worker = partial(setting, "worker", worker=True)
_web = partial(setting, "web")
_cloud = partial(setting, "cloud")
_function = partial(setting, "lambda")
_local = partial(setting, "local")


@dataclass(frozen=True)
class Settings(ResourceNames):
    """Shoal's settings. Each declared field `name` is read from the environment variable `SHOAL_NAME`.

    cloud: boto3's variables of the embedded cloud that runs in the state folder; empty when none runs there, or when
           the environment names another cloud.
    emulated: whether the instances are processes on this machine, which cost nothing.
    """

    prefix: str = _service(
        "shoal", "The first part of the name of everything in the cloud: buckets, queues, table, role.", worker=True
    )
    state_dir: Path = _service(
        Path(".shoal"), "The folder for logs, the ledger, and the embedded cloud's data and endpoints."
    )
    cache_dir: Path = _service(
        Path("~/.cache/shoal"), "The folder for prepared models; `$XDG_CACHE_HOME/shoal` when that variable is set."
    )
    log_level: str = _service(
        "INFO",
        "The least severe messages that are logged; a reload also changes those of the controller.",
        choices=("DEBUG", "INFO", "WARNING", "ERROR"),
        reload=True,
        worker=True,
    )
    otlp_endpoint: str = _service(
        "",
        "The base address of an OpenTelemetry collector for traces; empty for no traces.",
        reload=True,
        worker=True,
        also="OTEL_EXPORTER_OTLP_ENDPOINT",
    )
    api_key: str = _service(
        "",
        "The API key that the commands send to a Shoal where people sign in; `shoal keys add` makes it.",
        secret=True,
    )
    chromium: str = _service(
        "", "The program of Chromium or Chrome, which `shoal compare` and its page measure; empty for the one in PATH."
    )
    env_file: Path | None = _service(
        None,
        "The file with settings that the controller reads over the environment, at its start and on SIGHUP; "
        "`settings.env` in the state folder when not set.",
    )

    policy: str = _pool(
        "deadline",
        "How the number of workers is computed: `deadline`, `per_message`, `qos`, `backlog_per_instance`, `step`, "
        "`schedule`, or `module:attribute` of your own.",
    )
    policy_options: str = _pool("", "The policy's own options, `name=value` each, separated by spaces.")
    min_instances: int = _pool(0, "The number of instances that always stay.", least=0)
    max_instances: int = _pool(15, "The number of instances that is never exceeded.", least=1, most=10_000)
    target_seconds: float = _pool(
        60.0, "How long a photo may wait for its labels (deadline, schedule, backlog_per_instance).", least=0.1
    )
    quiet_seconds: float = _pool(10.0, "How long a pool without work waits before it shrinks to zero.", least=0)
    window_seconds: float = _pool(
        10.0, "A pool shrinks only to the largest number that was needed within this time.", least=0
    )
    tolerance: float = _pool(
        0.05, "A pool that is too large by less than this share is left unchanged.", least=0, most=0.5
    )
    qos: float = _pool(5.0, "Messages for each worker (qos).", least=0.001)
    scale_factor: float = _pool(
        1.0, "The share of the missing workers that is launched in one step (qos).", least=0.01, most=1
    )
    steps: str = _pool("1:1 10:3 50:8 200:15", "A table `backlog:workers` (step).")
    schedule: str = _pool(
        "", "Minimum numbers of workers by time: `Mon-Fri 08:00-18:00 3; Sat,Sun 10:00-14:00 1` (schedule)."
    )
    time_zone: str = _pool("UTC", "The time zone of the schedule.")
    boot_seconds: float = _pool(300.0, "An instance whose worker has not registered by then is replaced.", least=1)
    silent_seconds: float = _pool(90.0, "A worker that has sent no beat for this long is replaced.", least=1)
    stuck_seconds: float = _pool(
        60.0, "A worker that sends beats and takes no photo for this long, although some wait, is replaced. Twenty "
        "times the measured service time counts instead if that is longer.", least=1,
    )  # fmt: skip
    drain_seconds: float = _pool(
        300.0, "A draining worker that finishes no message for this long is terminated.", least=1
    )
    expected_service_seconds: float = _pool(
        0.5, "The assumed seconds of work for each photo, until they are measured.", least=0.001, reload=False
    )
    expected_most_per_second: float = _pool(
        0.0,
        "The assumed most photos a second of all workers together, which share one machine; 0 when no limit is known.",
        least=0,
        reload=False,
    )
    expected_boot_seconds: float = _pool(
        30.0, "The assumed seconds from launch to registration, until they are measured.", least=0.1, reload=False
    )

    budget_amount: float = _budget(
        0.0, "What instances may cost in each budget period, in the currency of the price; 0 for no limit.", least=0
    )
    budget_period: str = _budget("month", "The budget period, by UTC.", choices=("hour", "day", "week", "month"))
    price_per_hour: float = _budget(
        0.0, "The price of one instance for an hour; 0 for the listed price of its type in us-east-1.", least=0
    )

    tick_seconds: float = _controller(1.0, "The time between two decisions.", least=0.05)
    launch_seconds: float = _controller(
        30.0, "A launched instance that the cloud does not list by then no longer counts.", least=1
    )
    lease_seconds: float = _controller(
        10.0, "A controller that is silent for this long loses its lease to another.", least=1
    )
    drain_by: str = _controller(
        "tag", "How a worker is told to drain: a tag of its instance, or a message.", choices=("tag", "queue"),
        worker=True,
    )  # fmt: skip
    terminate_seconds: float = _controller(
        5.0, "How long a message to drain is valid (drain by queue).", least=1, worker=True
    )
    sweep_seconds: float = _controller(60.0, "The time between two searches for lost photos.", least=1)
    sweep_days: float = _controller(4.0, "The age, in days, up to which lost photos are searched for.", least=0.001)
    max_deliveries: int = _controller(
        5,
        "How often a photo may end the worker's process or break its engine before it fails for good; deliveries of a "
        "response before it becomes a dead letter.",
        least=1,
        worker=True,
    )
    metrics_port: int = _controller(0, "The port on 127.0.0.1 for Prometheus metrics; 0 for none.", least=0, most=65535)
    cloudwatch: str = _controller(
        "off",
        "Metrics for CloudWatch: off, to a file in the embedded metric format, or by PutMetricData.",
        choices=("off", "file", "put"),
    )

    model: str = _worker("resnet50", "The model for requests that name none.", reload=True)
    models: str = _worker("", "Further models that a request may name, separated by commas.", reload=True)
    tails: str = _worker(
        "", "The second parts of models that workers run for the venue `split`, separated by commas: "
        "`resnet50.conv4_block6_out` for the model and the layer behind which it is cut.", reload=True,
    )  # fmt: skip
    model_weights: Path | None = _worker(None, "A file with your own weights for the default model.", reload=True)
    engine: str = _worker(
        "openvino", "The program that runs the models: `openvino`, `onnxruntime` or `keras`. A model may name its own.",
        reload=True,
    )  # fmt: skip
    precision: str = _worker(
        "auto",
        "The arithmetic; auto takes the fastest whose labels agree with float32, as measured on this kind of CPU.",
        choices=("auto", "float32", "int8"),
        reload=True,
    )
    answer_cache: int = _worker(
        1000, "The number of answers that a worker remembers for identical photos; 0 for none.", least=0, reload=True
    )
    max_file_bytes: int = _worker(50 * 1024 * 1024, "The largest photo, in bytes.", least=1, reload=True)
    max_pixels: int = _worker(
        50_000_000, "The largest photo, in pixels; a baseline JPEG may have four times as many.", least=1, reload=True
    )
    intake_prefix: str = _worker(
        "",
        "Objects that others store under this prefix of the input bucket, such as `incoming/`, are labelled, too; "
        "`shoal prepare` lets the bucket announce them. Empty for none.",
        reload=True,
    )
    stall_seconds: float = _worker(
        300.0, "A worker that holds messages and finishes none for this long ends as after a fault.", least=1,
        reload=True,
    )  # fmt: skip
    run_dir: Path | None = _worker(
        None,
        "The folder, empty after a boot, where a worker notes which photos it has open; `ami/start-worker` sets it.",
        worker=False,
    )
    beat_seconds: float = _worker(2.0, "The time between two beats of a worker.", least=0.1)
    visibility_seconds: int = _worker(
        30,
        "How long a message that a worker has received is hidden from the others; the worker renews it.",
        least=3,
        most=43_200,
    )

    host: str = _web(
        "127.0.0.1",
        "The address that the web server listens on. On others than this machine's own people have to sign in, unless "
        "SHOAL_OPEN_TO_ALL says that all may use it.",
    )
    open_to_all: int = _web(
        0, "1 lets the web server listen on an address that others reach, without a password.", least=0, most=1
    )
    sign_in: str = _web(
        "auto",
        "Whether people have to sign in, and programs need a key; auto: where others reach the web server, unless "
        "SHOAL_OPEN_TO_ALL is set.",
        choices=("auto", "on", "off"),
    )
    oidc_issuer: str = _web(
        "", "The address of an OpenID Connect provider at which people may sign in; empty for none."
    )
    oidc_client_id: str = _web("", "The id that the provider gave this Shoal.")
    oidc_client_secret: str = _web(
        "", "The secret that the provider gave this Shoal; empty for a public client.", secret=True
    )
    oidc_users: str = _web(
        "",
        "Who may sign in by the provider, separated by commas: verified e-mail addresses, `@example.com` for all of a "
        "domain, subject ids, `*` for everybody whom it knows.",
    )
    oidc_operators: str = _web("", "Who of them is an operator, in the same way.")
    user_photos_a_day: int = _web(
        0, "How many photos a user may send in a day, by UTC, where people sign in; 0 for no limit.", least=0
    )
    user_photos_waiting: int = _web(
        0, "How many photos of a user may wait for labels at the same time; 0 for no limit.", least=0
    )
    allowed_hosts: str = _web(
        "",
        "Further names that the page answers to, separated by commas, such as `photos.example.com`; `*` for any. Names "
        "without a dot and IP addresses need no permission.",
    )
    trusted_proxy: str = _web(
        "",
        "The IP address of a proxy in front of the page whose headers X-Forwarded-For, -Proto and -Host count; `*` for "
        "any sender.",
    )
    trusted_proxies: int = _web(
        1,
        "How many proxies a request passes, one after another; the last of them is SHOAL_TRUSTED_PROXY. Each adds its "
        "client to X-Forwarded-For.",
        least=1,
        most=10,
    )
    connections_per_address: int = _web(
        256, "How many connections one client address may hold; more are closed at once.", least=1, most=1_900
    )
    port: int = _web(8000, "The port of the page and the API.", least=1, most=65535)
    venue: str = _web(
        "pool",
        "Where photos are labelled: `pool`, by the workers; `local`, in the web process; or `module:attribute`.",
    )
    venues: str = _web("", "Further venues that a request may name with `?venue=`, separated by commas.")
    answer_seconds: float = _web(300.0, "How long a request waits for labels before it gets status 504.", least=1)
    web_threads: int = _web(
        640, "Threads of the web server; each request that waits for labels holds one.", least=4, most=2_000
    )
    keep_days: float = _service(
        0.0,
        "The age in days at which batches are deleted, with photos, results and corrections; 0 keeps them. By the "
        "controller, by the buckets on AWS, and by `shoal serve`.",
        least=0,
    )
    private_data: str = _web(
        "remove",
        "What tells where, when, with what and by whom a photo was taken is removed before it is stored, or kept. The "
        "picture stays the same.",
        choices=("remove", "keep"),
    )
    direct_uploads: str = _web(
        "auto",
        "Photos go straight to the bucket, with their private data, so SHOAL_PRIVATE_DATA=keep is needed; "
        "auto tests first whether the store can do it.",
        choices=("auto", "on", "off"),
    )
    fetch_seconds: float = _web(15.0, "How long a photo may take to arrive from the address in a request.", least=0.1)
    fetch_own: str = _web("", "`host:port` of your own servers, separated by commas, that photos may be fetched from.")
    webhook_secret: str = _web(
        "", "The key that signs webhooks, `whsec_<base64>`; during a change the new and the old, separated by a comma.",
        secret=True,
    )  # fmt: skip
    webhook_seconds: float = _web(86_400.0, "How long a webhook that is not accepted is tried again.", least=1)
    run_sources: str = _web(
        "",
        "The folders of buckets that bulk runs begun by the page or the API may read, `s3://bucket/prefix/` or "
        "`s3://bucket` each, separated by commas; empty allows no such run.",
    )
    run_targets: str = _web(
        "",
        "Where their results may go besides Shoal's own output bucket, written in the same way.",
    )
    operator_secret: str = _web(
        "",
        "The password of the user `operator`, at least 16 characters, and for actions on the fleet page where nobody "
        "else signs in; empty allows neither.",
        secret=True,
    )

    instance_type: str = _cloud("t3.medium", "Instance types, separated by commas, the preferred one first.")
    ami: str = _cloud("", "The machine image: an id or a name; `<prefix>-worker` when empty.")
    subnet: str = _cloud("", "Subnets or availability zones, separated by commas; empty for the default network.")
    security_group: str = _cloud("", "The id of the security group; empty for the default one.")
    key_name: str = _cloud("", "The key pair for logging in to instances; empty for none.")
    instance_profile: str = _cloud("", "The instance profile of the workers; `<prefix>-worker` when empty.")
    spot_share: float = _cloud(0.0, "The share of instances that are spot instances.", least=0, most=1)
    capacity_seconds: float = _cloud(
        180.0, "How long a type in a zone is not asked for after EC2 had no capacity for it.", least=1
    )
    actuator: str = _cloud(
        "ec2", "What launches instances: the controller itself, or an Auto Scaling group.",
        choices=("ec2", "autoscaling"),
    )  # fmt: skip

    lambda_prefix: str = _function(
        "lambda/", "The Lambda function labels the objects that are stored under this prefix of the input bucket.",
        worker=True,
    )  # fmt: skip
    lambda_memory_mb: int = _function(512, "The memory of the Lambda function, in MB.", least=128, most=10_240)
    lambda_seconds: int = _function(15, "The time limit of the Lambda function for an event.", least=1, most=900)
    lambda_concurrency: int = _function(
        10, "The number of events that the Lambda function handles at the same time; others wait.", least=1, most=1_000
    )
    lambda_image: str = _function(
        "", "The address in ECR of the container image of the Lambda function; the embedded cloud needs none."
    )

    local_instances: str = _local(
        "process",
        "What an embedded instance is: a `process` tree, or a `machine` that systemd boots, which needs root, "
        "systemd-nspawn and mmdebstrap.",
        choices=("process", "machine"),
    )
    local_boot_seconds: float = _local(1.0, "How long an embedded instance takes to boot.", least=0)

    cloud: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    emulated: bool = field(default=False, repr=False)

    @property
    def image(self) -> str:
        """The machine image of the instances: an AMI id or the name of an own image."""
        return self.ami or f"{self.prefix}-worker"

    @property
    def instance_types(self) -> tuple[str, ...]:
        """The instance types, in the order of preference."""
        return listed(self.instance_type)

    @property
    def places(self) -> tuple[str, ...]:
        """The ids of subnets or names of availability zones for instances; empty for the default network."""
        return listed(self.subnet)

    @property
    def role(self) -> str:
        """The name of the workers' role and of its instance profile."""
        return self.instance_profile or f"{self.prefix}-worker"

    @property
    def served_models(self) -> tuple[str, ...]:
        """The models that a request may name, the default first."""
        return tuple(dict.fromkeys((self.model, *listed(self.models))))

    @property
    def served_tails(self) -> tuple[str, ...]:
        """The tails that activations may be sent to."""
        return listed(self.tails)

    @property
    def further_venues(self) -> tuple[str, ...]:
        """The venues that a request may name besides the usual one."""
        return listed(self.venues)

    @property
    def fetch_own_places(self) -> frozenset[str]:
        """The `host:port` pairs that photos may be fetched from although they are not on the public internet."""
        return frozenset(listed(self.fetch_own))

    @property
    def signs_in(self) -> bool:
        """Whether people have to sign in."""
        if self.sign_in == "auto":
            return not (self.open_to_all or is_loopback(self.host))
        return self.sign_in == "on"

    @property
    def oidc_user_names(self) -> tuple[str, ...]:
        """Who may sign in by OpenID Connect."""
        return listed(self.oidc_users)

    @property
    def oidc_operator_names(self) -> tuple[str, ...]:
        """Who of them is an operator."""
        return listed(self.oidc_operators)

    @property
    def allowed_host_names(self) -> tuple[str, ...]:
        """Names that the page answers to besides this machine's own."""
        return listed(self.allowed_hosts)

    @property
    def webhook_keys(self) -> tuple[bytes, ...]:
        """The keys that sign webhooks; empty when there are no webhooks. Raises SettingsError."""
        return tuple(webhook_key(secret) for secret in listed(self.webhook_secret))

    @property
    def run_source_folders(self) -> tuple[tuple[str, str], ...]:
        """Bucket and prefix of each place in `run_sources`. Raises SettingsError."""
        return tuple(bucket_folder("SHOAL_RUN_SOURCES", one) for one in listed(self.run_sources))

    @property
    def run_target_folders(self) -> tuple[tuple[str, str], ...]:
        """Bucket and prefix of each place in `run_targets`. Raises SettingsError."""
        return tuple(bucket_folder("SHOAL_RUN_TARGETS", one) for one in listed(self.run_targets))

    def for_worker(self) -> dict[str, str]:
        """The variables in the boot file of a new instance."""
        values = {one.variable: getattr(self, one.name) for one in SETTINGS if one.worker}
        # The image must hold a file at the same path; the instances of an embedded cloud share our disk.
        return {
            name: str(value.absolute() if isinstance(value, Path) else value)
            for name, value in values.items()
            if value is not None
        }


SETTINGS = declared(Settings)
