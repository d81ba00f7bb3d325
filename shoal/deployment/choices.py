"""What a person chose for a deployment, and the parameters of the template that say so."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from shoal.deployment.template_file import StackTemplate, read
from shoal.errors import SettingsError
from shoal.messages import MAX_EVENT_BYTES, MAX_REQUEST_BYTES
from shoal.ports import LAST_NET_DELIVERIES
from shoal.prices import price_per_hour
from shoal.settings import SETTINGS, Settings

# The stack says these to page and controller itself, or they belong to the machine that deploys.
_OF_THE_STACK = {
    *("prefix", "state_dir", "cache_dir", "env_file", "host", "port", "trusted_proxy", "trusted_proxies"),
    *("allowed_hosts", "open_to_all", "sign_in"),
    *("instance_type", "max_instances", "ami", "subnet", "security_group", "actuator", "instance_profile"),
    *("cloudwatch", "lambda_image", "local_boot_seconds"),
}


@dataclass(frozen=True, slots=True)
class Choices:
    """What to deploy, besides the settings.

    private:  whether to make a network whose workers reach AWS' services alone.
    vpc, subnets: a given network; empty for the default one.
    page:     whether to make an instance with the page and the controller.
    domain:   the page's name; zone: its Route 53 zone.
    thrifty:  Caddy instead of a load balancer, where there is a domain.
    visitors: the addresses that reach the page, as 203.0.113.7/32.
    email, budget: who is told of alarms; US dollars a month.
    keep_days: photos are deleted after so many days; 0 keeps them.
    tails:    whether a function runs the tails in SHOAL_TAILS, too.
    """

    private: bool = False
    vpc: str = ""
    subnets: tuple[str, ...] = ()
    page: bool = True
    domain: str = ""
    zone: str = ""
    thrifty: bool = False
    visitors: str = ""
    page_type: str = "t3.small"
    page_image: str = ""
    email: str = ""
    budget: float = 0.0
    keep_days: int = 0
    tails: bool = False

    @property
    def tier(self) -> str:
        """The value of the template's WebTier."""
        if not self.page:
            return "none"
        return "balancer" if self.domain and not self.thrifty else "thrifty"

    def text(self) -> str:
        """Those that are not the defaults, as JSON: what the stack keeps for the next command."""
        usual = asdict(Choices())
        return json.dumps({name: value for name, value in asdict(self).items() if value != usual[name]})

    def after(self, earlier: Choices, given: Collection[str]) -> Choices:
        """These where they were given now, else those of an earlier command; names of fields in `given`.

        Earlier ones that do not fit to what is given now are left out.
        """
        asked = asdict(self)
        now = {name: asked[name] for name in given if name in asked}
        merged = asdict(earlier) | now
        usual = asdict(Choices())
        falls = _without(merged, now)
        if merged["domain"] != earlier.domain:
            falls.add("zone")  # it was that of the other name
        merged |= {name: usual[name] for name in falls - now.keys()}
        return Choices(**merged)

    def check(self) -> None:
        """Raise SettingsError for choices that do not fit together."""
        if self.private and (self.vpc or self.subnets):
            raise SettingsError("--private makes a network of its own: leave --vpc and --subnets out")
        if bool(self.vpc) != bool(self.subnets):
            raise SettingsError("--vpc and --subnets name a network together")
        if self.domain and not self.page:
            raise SettingsError("--domain is the page's name: leave it or --no-page out")
        if self.thrifty and not self.domain:
            raise SettingsError("--thrifty needs --domain; without a domain there is no load balancer")
        if self.zone and not self.domain:
            raise SettingsError("--zone needs --domain")
        if self.tier == "balancer" and len(self.subnets) == 1:
            raise SettingsError("a load balancer needs --subnets in two zones; with --thrifty one is enough")
        if self.budget and not self.email:
            raise SettingsError("--budget needs --email: whom to tell")


def _without(merged: Mapping[str, object], now: Mapping[str, object]) -> set[str]:
    """The names of choices that fall with others: a domain's without one, a given network's beside a private one."""
    falls: set[str] = set()
    if now.get("page") is False:
        falls |= {"domain", "thrifty", "zone"}
    if not merged["domain"]:
        falls |= {"thrifty", "zone"}
    if now.get("private"):
        falls |= {"vpc", "subnets"}
    elif now.get("vpc"):
        falls.add("private")
    if not merged["email"]:
        falls.add("budget")
    return falls


def recalled(text: str) -> Choices:
    """The choices that `Choices.text` wrote. What this version does not know, or cannot read, is left out."""
    try:
        known = json.loads(text or "{}")
    except ValueError:
        known = {}
    usual = asdict(Choices())
    found = known.items() if isinstance(known, dict) else ()
    kept = {name: value for name, value in found if name in usual}
    if isinstance(subnets := kept.get("subnets"), list):
        kept["subnets"] = tuple(map(str, subnets))
    return Choices(**{name: value for name, value in kept.items() if isinstance(value, type(usual[name]))})


@dataclass(frozen=True, slots=True)
class Found:
    """What the account has: where to put things, and from which images.

    network, subnets: of the workers and the page; empty for a private network.
    page_image: the image of the page's instance.  worker_image: empty when none is baked yet.
    visitors:   who reaches the page.
    code:       the key of the program in the code bucket.
    password:   the version of the page's password; 0 before there is one.
    """

    network: str = ""
    subnets: tuple[str, ...] = ()
    page_image: str = ""
    worker_image: str = ""
    visitors: str = "127.0.0.1/32"
    code: str = ""
    password: int = 0


def parameters(template: StackTemplate, settings: Settings, choices: Choices, found: Found) -> dict[str, str]:
    """The value of each parameter of the template."""
    if choices.tails and not (settings.tails and settings.lambda_image):
        raise SettingsError("--tails needs SHOAL_TAILS, and SHOAL_LAMBDA_IMAGE with these tails in it")
    values = {
        **_network(choices, found),
        **_workers(template, settings, found),
        **_queues(settings, choices),
        "Prefix": settings.prefix,
        "Options": choices.text(),
        "WebTier": choices.tier,
        "WebImage": found.page_image,
        "WebInstanceType": choices.page_type,
        "CodeKey": found.code,
        "PasswordVersion": str(found.password),
        "WebSettings": "\n".join(f"{name}={value}" for name, value in further_settings(settings).items()),
        "Domain": choices.domain,
        "HostedZoneId": choices.zone,
        "Visitors": found.visitors,
        "LambdaImage": settings.lambda_image,
        "LambdaPrefix": settings.lambda_prefix,
        "LambdaMemory": str(settings.lambda_memory_mb),
        "LambdaSeconds": str(settings.lambda_seconds),
        "LambdaConcurrency": str(settings.lambda_concurrency),
        "LambdaTails": settings.tails if choices.tails else "",
        "AlarmEmail": choices.email,
        "MonthlyBudget": f"{choices.budget:g}",
        "WorkerPricePerHour": f"{price_per_hour(settings) or 0:g}",
    }
    missing = set(template.parameters) ^ set(values)
    assert not missing, missing
    return values


def resources(settings: Settings, choices: Choices) -> dict[str, str]:
    """What a first deployment makes, without a look at the account: names in the template, and types."""
    template = read()
    return template.made(parameters(template, settings, choices, Found()))


def _network(choices: Choices, found: Found) -> dict[str, str]:
    return {
        "Network": "private" if choices.private else "given",
        "VpcId": found.network,
        "SubnetIds": ",".join(found.subnets),
    }


def _workers(template: StackTemplate, settings: Settings, found: Found) -> dict[str, str]:
    return {
        # Else the controller finds the newest by its name, also one that is baked later.
        "WorkerImage": found.worker_image if settings.ami or settings.actuator == "autoscaling" else "",
        "WorkerTypes": ",".join(settings.instance_types),
        "WorkerDiskGigabytes": str(template.parameters["WorkerDiskGigabytes"]),
        "MaxWorkers": str(settings.max_instances),
        "OnDemandPercentage": str(round(100 * (1 - settings.spot_share))),
        "Actuator": settings.actuator,
    }


def _queues(settings: Settings, choices: Choices) -> dict[str, str]:
    return {
        "VisibilitySeconds": str(settings.visibility_seconds),
        "LastNetDeliveries": str(LAST_NET_DELIVERIES),
        "MaxDeliveries": str(settings.max_deliveries),
        "MaxRequestBytes": str(MAX_EVENT_BYTES if settings.intake_prefix else MAX_REQUEST_BYTES),
        "IntakePrefix": settings.intake_prefix,
        "KeepPhotosDays": str(choices.keep_days or math.ceil(settings.keep_days)),
    }


def further_settings(settings: Settings) -> dict[str, str]:
    """The variables of page and controller that are not the defaults. Secrets are none of them."""
    standard = Settings(prefix=settings.prefix)
    found: dict[str, str] = {}
    for one in SETTINGS:
        value = getattr(settings, one.name)
        if one.secret or one.name in _OF_THE_STACK or value == getattr(standard, one.name):
            continue
        if isinstance(value, Path):
            raise SettingsError(f"{one.variable} names a file of this machine, the instance on AWS has none")
        found[one.variable] = str(value)
    return found


def function_settings(settings: Settings) -> dict[str, str]:
    """Those of them that the Lambda function is given: a worker's. The template itself gives it the two prefixes."""
    given = {one.variable for one in SETTINGS if one.worker} - {"SHOAL_PREFIX", "SHOAL_LAMBDA_PREFIX"}
    return {name: value for name, value in further_settings(settings).items() if name in given}


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The parameters that change: name -> (old, new)."""
    return {name: (before.get(name, ""), value) for name, value in after.items() if before.get(name, "") != value}
