"""Checks requests against their JSON Schemas, and says in one sentence what is wrong.

fastjsonschema compiles each schema to a Python function when this process starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import fastjsonschema

from web_tier.problems import Problem
from web_tier.schemas.requests import Schema

_SHOWN = 40  # characters of a client's own text that an error repeats
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,9}")
_KINDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "object": "a JSON object",
    "string": "a string",
}


class RequestCheck:
    """The check of one schema. Safe for many threads.

    name: what errors call the value; empty for a body, whose fields are named without a prefix.
    """

    def __init__(self, schema: Schema, name: str = "") -> None:
        self._name = name
        self._validate = fastjsonschema.compile(schema, use_default=False)

    def __call__(self, value: Any) -> None:
        """Accept `value`. Raises Problem (400), which names the first field that is wrong, and why."""
        try:
            self._validate(value)
        except fastjsonschema.JsonSchemaValueException as error:
            field = (error.name or "").removeprefix("data").removeprefix(".")
            where = self._name or field or "The body"
            explain = _REASONS.get(error.rule or "", _other)
            raise Problem(400, f"{where} {explain(error.rule_definition, error.value, error.definition)}.") from None


def whole_number(name: str, values: Mapping[str, str], schema: Schema) -> int:
    """The integer that the query parameter `name` gives, or the default in its schema. Raises Problem (400)."""
    text = values.get(name)
    if text is None:
        return int(schema["default"])
    if _WHOLE_NUMBER.fullmatch(text) and schema["minimum"] <= int(text) <= schema["maximum"]:
        return int(text)
    limits = f"from {schema['minimum']:,} to {schema['maximum']:,}"
    raise Problem(400, f"{name}={text[:_SHOWN]!r} is not a whole number {limits}.")


Explain = Callable[[Any, Any, Any], str]
"""A sentence's end, from the rule's own value in the schema, the value that breaks it, and the schema."""


def _missing(required: list[str], value: dict[str, Any], _schema: Schema) -> str:
    return f"has no field {next(name for name in required if name not in value)!r}"


def _unknown(_rule: bool, value: dict[str, Any], schema: Schema) -> str:
    known = sorted(schema["properties"])
    unknown = min(value.keys() - set(known))
    return f"has an unknown field {unknown[:_SHOWN]!r}; known are {', '.join(known)}"


def _choice(forms: list[Schema], _value: Any, _schema: Schema) -> str:
    names = (" and ".join(form["required"]) for form in forms)
    return f"needs either {' or '.join(names)}, and not both"


def _range(_limit: int, _value: Any, schema: Schema) -> str:
    return f"is not from {schema['minimum']:,} to {schema['maximum']:,}"


def _other(_limit: Any, _value: Any, _schema: Any) -> str:
    return "is not valid"


_REASONS: dict[str, Explain] = {
    "type": lambda kind, _value, _schema: f"is not {_KINDS[kind]}",
    "required": _missing,
    "additionalProperties": _unknown,
    "oneOf": _choice,
    "minLength": lambda least, _value, _schema: f"is too short: at least {least:,} {_count(least, 'character')}",
    "maxLength": lambda most, _value, _schema: f"is too long: at most {most:,} characters",
    "minItems": lambda least, _value, _schema: f"is too short: at least {least:,} {_count(least, 'entry', 'entries')}",
    "maxItems": lambda most, _value, _schema: f"is too long: at most {most:,} entries in one request",
    "minimum": _range,
    "maximum": _range,
    "pattern": lambda pattern, _value, _schema: f"does not have the form {pattern}",
}


def _count(number: int, singular: str, plural: str = "") -> str:
    return singular if number == 1 else plural or f"{singular}s"
