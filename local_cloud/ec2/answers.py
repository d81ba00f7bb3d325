"""Remembers the names under which moto looks for the members of an answer.

For every member of every object in an answer moto makes up to a dozen spellings of its name, each time again. They
depend only on the member's shape and the object's class. Making them took a quarter of a DescribeInstances call.
"""

from typing import Any

from moto.core.serialize import XFormedAttributePicker

from local_cloud import points


def connect() -> None:
    """Put the hook in."""
    points.replace(XFormedAttributePicker, "get_possible_keys", _remembered)


def _remembered(original: points.Function) -> points.Function:
    # moto makes its shapes once for a service, and the aliases of a class do not change.
    known: dict[tuple[type, Any, str], tuple[str, ...]] = {}

    def get_possible_keys(picker: Any, context: Any) -> tuple[str, ...]:
        member = type(context.obj), context.shape, context.key
        keys = known.get(member)
        if keys is None:
            keys = known[member] = tuple(dict.fromkeys(original(picker, context)))
        return keys

    return get_possible_keys
