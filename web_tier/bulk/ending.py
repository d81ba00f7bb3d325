"""The end of a run, for its webhook."""

from __future__ import annotations

from typing import Any

from shoal.errors import Retryable
from web_tier.bulk.looking import RunLooker
from web_tier.problems import Problem


class RunEnding:
    """See `web_tier.results.webhooks.WorkEnding`."""

    def __init__(self, looker: RunLooker) -> None:
        self._looker = looker

    def has_ended(self, name: str, photos: int) -> bool:  # noqa: ARG002 - of a run nobody says how many there are
        """Whether its results are put together."""
        return self._looker.records.summary(name) is not None

    def summary(self, name: str) -> dict[str, Any]:
        """What GET /v1/runs/<id> says."""
        self._looker.changed(name)
        try:
            return self._looker.told(name)
        except Problem as error:
            raise Retryable(str(error)) from error
