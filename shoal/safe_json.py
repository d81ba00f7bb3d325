"""Reads JSON that anybody may have written. Whatever is wrong with it, the error is MalformedMessage.

`json.loads` alone also raises RecursionError, and it returns values that break a program later: NaN, integers of
thousands of digits, lone surrogates that no encoder takes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from shoal.errors import MalformedMessage

DEEPEST = 32  # levels; a message of ours has five
LONGEST_INTEGER = 18  # digits: fits in 64 bits
LATEST = 253_402_214_400.0  # 9999-12-31: no later date can be shown


def read_object(text: str | bytes, what: str = "a message") -> dict[str, Any]:
    """Read a JSON object in UTF-8. `what` names it in the error. Raises MalformedMessage and nothing else.

    All numbers in it are finite, its integers fit in 64 bits, all its texts can be encoded.
    """
    value = read_value(text, what)
    if not isinstance(value, dict):
        raise MalformedMessage(f"not {what}: no JSON object")
    return value


def read_value(text: str | bytes, what: str = "an answer") -> Any:
    """Read any JSON value, as `read_object` reads an object. Raises MalformedMessage and nothing else."""
    try:
        return _read(text)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage(f"not {what}: no JSON: {error}") from error


def _read(text: str | bytes) -> Any:
    decoded = text.decode() if isinstance(text, bytes) else text
    decoded.encode()  # raises for a lone surrogate
    value = json.loads(decoded, parse_int=_integer, parse_float=_finite, parse_constant=_finite)
    # With so few brackets it cannot be too deep: most messages need no closer look.
    if decoded.count("[") + decoded.count("{") > DEEPEST and _is_deeper(value, DEEPEST):
        raise ValueError(f"more than {DEEPEST} levels")
    if "\\u" in decoded:
        json.dumps(value, ensure_ascii=False).encode()  # an escape can be a lone surrogate too
    return value


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > LONGEST_INTEGER:
        raise ValueError(f"an integer of more than {LONGEST_INTEGER} digits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"a number that is not finite: {digits[:20]}")
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(one, levels - 1) for one in inner)


def number(value: Any) -> float:
    """`value` as a float. Raises TypeError when it is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a number was expected, not a {type(value).__name__}")
    return float(value)


def integer(value: Any) -> int:
    """`value` as an integer. Raises TypeError when it is not a number, and ValueError when it is too long."""
    if abs(number(value)) >= 10**LONGEST_INTEGER:
        raise ValueError(f"an integer of more than {LONGEST_INTEGER} digits")
    return int(value)


def moment(value: Any) -> float:
    """`value` as seconds since 1970. Raises TypeError or ValueError when no date of the years until 9999 has them."""
    seconds = number(value)
    if not 0 <= seconds <= LATEST:
        raise ValueError(f"{seconds:g} s since 1970 is no date until the year 9999")
    return seconds


def text(value: Any) -> str:
    """`value` as a text. Raises TypeError when it is not one."""
    if not isinstance(value, str):
        raise TypeError(f"a text was expected, not a {type(value).__name__}")
    return value


def array(fields: Mapping[str, Any], name: str) -> list[Any]:
    """The list `name` of `fields`; empty when it is missing. Raises TypeError when it is not a list."""
    value = fields.get(name, [])
    if not isinstance(value, list | tuple):
        raise TypeError(f"{name} is not a list")
    return list(value)
