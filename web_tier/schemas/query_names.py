"""Refuses a misspelt query parameter: it would change nothing, and nobody would notice."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from functools import cache

from shoal.settings import Settings
from web_tier.problems import Problem
from web_tier.schemas.openapi import document
from web_tier.schemas.secured import SHARE

_ALSO = {("POST", "/v1/batches"): {"webhook"}}  # a server without webhooks says so itself


def check_query(method: str, rule: str, names: Iterable[str]) -> None:
    """Check the names in a query against the description of the API. Raises Problem (400).

    rule: the route as Flask writes it. Routes that are not described take any name.
    """
    known = _described().get((method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)))
    if known is None:
        return
    for name in names:
        if name not in known and not (name == SHARE and method == "GET" and "<batch>" in rule):
            raise Problem(400, f"There is no parameter {name[:40]!r} here. {_meant(name, known)}".strip())


def _meant(name: str, known: Collection[str]) -> str:
    """The parameter that was meant, or those that there are; empty without one."""
    if close := difflib.get_close_matches(name, known, n=1):
        return f"Did you mean {close[0]}?"
    return f"It can be {' or '.join(sorted(known))}." if known else ""


@cache
def _described() -> dict[tuple[str, str], set[str]]:
    """Method and path -> the names of its query parameters."""
    found: dict[tuple[str, str], set[str]] = {}
    for path, operations in document(("any",), ("any",), Settings())["paths"].items():
        for method, operation in operations.items():
            names = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}
            found[method.upper(), path] = names | _ALSO.get((method.upper(), path), set())
    return found
