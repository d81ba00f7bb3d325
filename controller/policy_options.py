"""The settings that belong to one policy: its keyword-only parameters, set by SHOAL_POLICY_OPTIONS."""

from __future__ import annotations

from functools import partial
from inspect import Parameter, signature
from typing import Any

from controller.policy import Policy


def with_options(policy: Policy, text: str) -> Policy:
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
