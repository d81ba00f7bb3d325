"""What the settings tell the controller to do, checked: policy, terms, patience, budget. Replaced whole at a reload."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, signature
from typing import Any, TypeVar

from controller import calendar
from controller.budget import PERIODS, Budget
from controller.policies import step
from controller.policy import Decision, Limits, Observation, Policy, Terms
from controller.sightings import COUNTS_LAG_SECONDS, Patience
from shoal import plugins
from shoal.errors import SettingsError
from shoal.folders import folder
from shoal.ports import Depth
from shoal.prices import price_in_words, price_per_hour
from shoal.settings import SETTINGS, Setting, Settings

T = TypeVar("T")

TEMPLATE = folder("ami") / "user-data.sh"
PLACE = "@ENVIRONMENT@"
IDLE = Observation(0.0, Depth(0, 0, 0))


@dataclass(frozen=True, slots=True)
class Rules:
    """budget: None when spending has no limit."""

    policy: Policy
    terms: Terms
    patience: Patience
    budget: Budget | None = None

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """Raises SettingsError, which names the variable."""
        limits = Limits(
            settings.min_instances,
            settings.max_instances,
            settings.quiet_seconds,
            settings.window_seconds,
            settings.tolerance,
        )
        terms = Terms(
            limits,
            settings.target_seconds,
            settings.qos,
            settings.scale_factor,
            _parsed("SHOAL_STEPS", settings.steps, step.parse),
            _parsed("SHOAL_SCHEDULE", settings.schedule, lambda text: calendar.parse(text, settings.time_zone)),
        )
        policy: Policy = plugins.load(settings.policy, "controller.policies", "policy")
        policy = _parsed("SHOAL_POLICY_OPTIONS", settings.policy_options, lambda text: _with_options(policy, text))
        _try(policy, settings.policy, terms)
        return cls(
            policy,
            terms,
            Patience(
                settings.boot_seconds,
                settings.silent_seconds,
                settings.drain_seconds,
                settings.stuck_seconds + (0.0 if settings.emulated else COUNTS_LAG_SECONDS),
                settings.stall_seconds,
            ),
            _budget(settings),
        )


def reloaded(running: Settings, fresh: Settings) -> Rules:
    """The rules of the settings that a reload has read.

    Raises SettingsError for a wrong value, and for a changed setting that a reload cannot take.
    """
    changed = [one for one in SETTINGS if getattr(running, one.name) != getattr(fresh, one.name)]
    if refused := [_refusal(one) for one in changed if not one.reload]:
        raise SettingsError("; ".join(refused))
    return Rules.of(fresh)


def _refusal(setting: Setting) -> str:
    tier = " of the web tier, which reads its environment only" if setting.group == "web" else ""
    return f"{setting.variable} needs a restart{tier}"


def _try(policy: Policy, name: str, terms: Terms) -> None:
    """Ask a policy about an idle pool. Raises SettingsError when it breaks or returns no Decision."""
    try:
        answer = policy(IDLE, terms)
    except Exception as error:
        raise SettingsError(f"SHOAL_POLICY={name!r} breaks: {type(error).__name__}: {error}") from error
    if not isinstance(answer, Decision):
        raise SettingsError(f"SHOAL_POLICY={name!r} returns {type(answer).__name__}, not a Decision")


def _parsed(variable: str, text: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise SettingsError(f"{variable}={text!r}: {error}") from None


def _budget(settings: Settings) -> Budget | None:
    if not settings.budget_amount:
        return None
    period = next(one for one in PERIODS if one == settings.budget_period)
    price = price_per_hour(settings)
    if price is None:
        raise SettingsError(f"SHOAL_BUDGET_AMOUNT needs a price, and {price_in_words(settings)}")
    return Budget(settings.budget_amount, period, price)


def _with_options(policy: Policy, text: str) -> Policy:
    """The policy with the options in `text`, `name=value` each, separated by spaces. A default names the type.

    Raises ValueError for an option that the policy does not have, and for a value of another type.
    """
    known = signature(policy).parameters.values()
    defaults = {one.name: one.default for one in known if one.kind is Parameter.KEYWORD_ONLY}
    options = dict(_option(word, defaults) for word in text.split())
    return partial(policy, **options) if options else policy


def _option(word: str, defaults: dict[str, Any]) -> tuple[str, Any]:
    name, equals, value = word.partition("=")
    if not equals or name not in defaults:
        raise ValueError(f"expected name=value; the options of this policy are: {', '.join(defaults) or 'none'}")
    kind = type(defaults[name])
    try:
        return name, kind(value)
    except ValueError:
        raise ValueError(f"{name} is of type {kind.__name__}") from None


def boot_file(environment: Mapping[str, str]) -> str:
    """The user data of a worker instance: the script that cloud-init runs as root at every start, with
    `environment` in the worker's env file."""
    lines = "\n".join(f"{name}={shlex.quote(value)}" for name, value in sorted(environment.items()))
    return TEMPLATE.read_text().replace(PLACE, lines)
