"""Who may use a route. Each view says it with `needs`, and an app with a view that does not say it is not made.

The rights count where people sign in. Elsewhere everybody may use every route, but what the operator's secret protects.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from flask import Flask

View = TypeVar("View", bound=Callable[..., Any])

_ATTRIBUTE = "needed_right"
_OF_FLASK = {"static"}  # a view of Flask's own: scripts, styles and pictures


class Right(StrEnum):
    """What a route asks of its caller."""

    NOTHING = "nothing"  # anybody, without signing in
    SIGNED_IN = "signed in"  # for all who have signed in, or have a key of any scope
    READ = "read"  # results of own batches, and of those that were shared
    LABEL = "label"  # sends photos, and changes own batches
    OPERATE = "operate"  # the fleet, dead letters, settings, comparisons


SCOPES = (Right.LABEL, Right.READ, Right.OPERATE)
"""The rights that a person or a key can have."""


def needs(right: Right) -> Callable[[View], View]:
    """Mark a view with the right that its caller needs."""

    def mark(view: View) -> View:
        setattr(view, _ATTRIBUTE, right)
        return view

    return mark


def needed(app: Flask, endpoint: str) -> Right:
    """The right that a route asks for. Raises LookupError for a view that does not say it."""
    if endpoint in _OF_FLASK:
        return Right.NOTHING
    found = getattr(app.view_functions[endpoint], _ATTRIBUTE, None)
    if not isinstance(found, Right):
        raise LookupError(f"the view {endpoint} does not say who may use it: mark it with @needs(Right....)")
    return found


def check_all(app: Flask) -> None:
    """Raise LookupError for a view that does not say who may use it."""
    for rule in app.url_map.iter_rules():
        needed(app, rule.endpoint)
