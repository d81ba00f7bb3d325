"""What a batch cost: its share of what the instances cost while it was labelled, boot and idle time included."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shoal.prices import comparably, cost_in_words, cost_title, price_per_hour
from shoal.settings import Settings
from web_tier.watching import history
from web_tier.watching.history import History


class BatchCost:
    """Reckons the cost of batches from the controller's ledger. settings: gives those that the controller goes by.

    Just after a batch its cost is told as "about": it falls when the ledger hears of what else was labelled meanwhile.
    """

    def __init__(self, past: History, settings: Callable[[], Settings]) -> None:
        self._past = past
        self._settings = settings

    def amount(self, began: float, seconds: float, photos: int) -> float | None:
        """US dollars for `photos` photos that were labelled from `began` on; None when the ledger does not tell."""
        moments, price = self._past.read(), price_per_hour(self._settings())
        if price is None or not moments or not photos:
            return None
        return history.share(moments, began, began + seconds, photos, price)

    def fact(self, began: float, seconds: float, photos: int) -> tuple[str, str]:
        """The title and the amount that a page shows; both are empty when the cost is unknown."""
        amount = self.amount(began, seconds, photos)
        about = not self._past.is_settled(began + seconds)
        return ("", "") if amount is None else (cost_title(self._settings()), comparably(amount, about))

    def told(self, began: float, seconds: float, photos: int) -> Mapping[str, object] | None:
        """The cost for programs, as JSON types; None when it is unknown."""
        amount = self.amount(began, seconds, photos)
        if amount is None:
            return None
        settled = self._past.is_settled(began + seconds)
        words = cost_in_words(self._settings(), comparably(amount, not settled))
        return {"dollars": amount, "words": words, "settled": settled}
