"""Queues keep their messages when the cloud answers at another port than before.

ministack knows a queue by its address, with the port. Each start takes another port, so its queues would be lost.
"""

from typing import Any

from local_cloud import points


def hook() -> None:
    """Replace ministack's function, once, before it reads its state."""
    import ministack.services.sqs

    points.replace(ministack.services.sqs, "_restore_state", _restoring)


def _restoring(original: points.Function) -> points.Function:
    def restore(data: dict[str, Any] | None) -> None:
        original({**data, "queues": _at_the_address_of_today(data["queues"])} if data else data)

    return restore


def _at_the_address_of_today(queues: Any) -> Any:
    """All queues under their addresses of this start; the messages of one name in one queue."""
    from ministack.services.sqs import _queue_url_for_account

    moved = type(queues)()
    for (account, region, _), queue in queues.all_items():
        url = _queue_url_for_account(account, queue["name"])
        same = moved.get_scoped(account, region, url)
        if same is None:
            moved.set_scoped(account, region, url, {**queue, "url": url})
        else:
            same["messages"] += queue["messages"]
    return moved
