"""Under which names moto looks for what an answer holds, found out once.

For each member of each thing in an answer moto tries up to a dozen spellings of its name, and makes them anew. They
depend on the member's shape and on the thing's class alone. Making them was a quarter of a DescribeInstances.
"""

from typing import Any

from moto.core.serialize import XFormedAttributePicker

from local_cloud import points


def connect() -> None:
    """Put the hook in."""
    points.replace(XFormedAttributePicker, "get_possible_keys", _remembered)


def _remembered(original: points.Function) -> points.Function:
    # The shapes are moto's own, made once for a service; a class of moto's has its aliases once and for all.
    known: dict[tuple[type, Any, str], tuple[str, ...]] = {}

    def get_possible_keys(picker: Any, context: Any) -> tuple[str, ...]:
        place = type(context.obj), context.shape, context.key
        found = known.get(place)
        if found is None:
            found = known[place] = tuple(dict.fromkeys(original(picker, context)))
        return found

    return get_possible_keys
