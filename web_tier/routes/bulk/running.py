"""What the API and the pages of bulk runs do alike, for who sent the current request."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runs.forecast import Forecast
from runs.progress import RunProgress
from runs.run import Run
from shoal.messages import new_batch
from web_tier.access import gate, person
from web_tier.access.rights import Right
from web_tier.intake import idempotency
from web_tier.problems import Problem
from web_tier.services import services

log = logging.getLogger(__name__)

VERBS = {"pause": "paused", "resume": "resumed", "cancel": "cancelled"}


def check_pool() -> None:
    """Raise Problem (404) where there are no workers."""
    if not services().has_pool:
        raise Problem(404, "This server labels photos itself: it has no workers for bulk runs.")


def newest() -> list[RunProgress]:
    """The newest runs that the caller may see. May raise Retryable."""
    entrance, who = services().entrance, person.current()
    return services().runs.looker.newest(lambda run: gate.sees_run(entrance, who, run))


def begin_once(asked: Mapping[str, Any], key: str | None, fingerprint: str) -> tuple[str, bool]:
    """Begin the run of a checked body. Returns its id, and whether an earlier request with the same key began it.

    Raises Problem (400, 403, 409, 422); may raise Retryable.
    """
    run, webhook = _checked(asked), asked.get("webhook")
    if webhook is not None:
        services().webhooks.check(webhook)
    fresh = run.id
    if key is None:
        _begin(run, webhook)
        return fresh, False
    who = person.current()
    client = f"{who.owner}\n" if who else ""
    claimed = idempotency.claim(services().cloud.outputs, services().clock, f"runs\n{client}{key}", fingerprint, fresh)
    if not claimed.complete:
        with claimed.intake():
            _begin(replace(run, id=claimed.batch), webhook)
    return claimed.batch, claimed.repeated


def expected(asked: Mapping[str, Any]) -> Forecast:
    """What the run of a checked body will take. Raises Problem (400, 403); may raise Retryable."""
    return services().runs.starter.expected(_checked(asked))


def _checked(asked: Mapping[str, Any]) -> Run:
    """The run of a checked body, with a fresh id. Raises Problem (400, 403)."""
    _check_quota()
    who = person.current()
    if who is not None and not who.may(Right.LABEL):  # the page asks for no more than to read
        raise Problem(403, "This key may not begin runs: it was made without the scope label.")
    run = services().runs.starter.run_of(asked, new_batch(services().clock.now()))
    if run.model:
        services().intake.check_model(run.model)
    return run


def steer(run: str, verb: str) -> None:
    """Pause, resume or cancel a run. Raises Problem (404, 409); may raise Retryable."""
    found = services().runs.looker.run(run)
    getattr(services().runs.starter, verb)(found.id)
    services().runs.looker.changed(run)
    log.info("run %s was %s by a request", run, VERBS[verb])


def again(run: str) -> str:
    """Begin a run for the photos of another that failed; returns its id. Raises Problem (403, 404, 409)."""
    _check_quota()
    found = services().runs.looker.run(run)
    fresh = new_batch(services().clock.now())
    services().runs.starter.check_again(found)
    _own(fresh)
    services().runs.starter.again(found, fresh)
    return fresh


def _begin(run: Run, webhook: str | None) -> None:
    _own(run.id)
    services().runs.starter.begin(run)
    if webhook is not None:
        services().webhooks.register_run(run.id, webhook)
    log.info("run %s of %s was begun by a request", run.id, run.source)


def _own(run: str) -> None:
    """Note that a run belongs to who sent the current request, where people sign in."""
    who = person.current()
    if who is not None:
        services().entrance.batches.note(run, who.owner)


def _check_quota() -> None:
    if services().quotas.hold_for(person.current()):
        raise Problem(403, "Your photos are counted, and those of a bulk run are not: an operator has to begin it.")
