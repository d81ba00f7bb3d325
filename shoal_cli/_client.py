"""A client for the HTTP API of a running Shoal."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

from inference.photo_folders import readable
from shoal.accounts.bearer import bearer
from shoal.errors import NotFound, Permanent, Retryable, ShoalError
from shoal.plugins import meant
from shoal.proxies import is_direct
from shoal.retry import patiently
from shoal_cli._accounts._chosen_key import chosen_key

GROUP_PHOTOS = 8
GROUP_BYTES = 4 * 1024 * 1024
GROUPS_AT_ONCE = 3
RETRY_SECONDS = 1.0
PATIENCE_SECONDS = 60.0
PAGE = 500
UNKNOWN = 404
TOO_MANY = 429  # more of one user than may wait: it passes


def session_for(address: str, key: str = "") -> requests.Session:
    """A session for calls to `address`, without the environment's proxies if that is this machine.

    key: an API key, which all its calls send.
    """
    session = requests.Session()
    session.auth = bearer(key) if key else None
    session.trust_env = not is_direct(address)
    return session


def not_served(model: str, names: Collection[str]) -> Permanent:
    """Why a request for `model` is refused, and what helps. names: the served models."""
    hint = meant(model, names) or "SHOAL_MODELS names what is served after the next start"
    return Permanent(f"The model {model!r} is not served here: {', '.join(names)} can be chosen. {hint}")


class Client:
    """Calls the web tier at `address`, for example http://127.0.0.1:8000.

    Every method may raise Retryable when there is no answer, and Permanent when the request is refused: NotFound
    for what Shoal does not know.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._session = session_for(self.address, chosen_key())

    def new_batch(self) -> str:
        """Create a batch. Returns its id."""
        return str(self._call("POST", "/batches").json()["batch"])

    def upload(
        self,
        batch: str,
        photos: Sequence[Path],
        model: str = "",
        patience: float = PATIENCE_SECONDS,
        away: Callable[[str], None] = lambda _: None,
        there: Collection[int] = (),
        venue: str = "",
    ) -> Iterator[int]:
        """Send the photos in small groups, a few groups at once. Yields the number of photos of each finished group.

        A group that fails is sent again for `patience` seconds. That does no harm: its photos keep their index.
        away: is told, in any thread, that there is no answer. there: the indexes of photos that are not sent.
        venue: where the photos are labelled; "" for the operator's choice.
        """
        ended = threading.Event()

        def send(group: tuple[int, list[Path]]) -> int:
            def once() -> None:
                with told(away, patience):
                    self._send_once(batch, *group, {"model": model, "venue": venue})

            patiently(once, patience, lambda: ended.wait(RETRY_SECONDS))
            return len(group[1])

        with ThreadPoolExecutor(GROUPS_AT_ONCE) as senders:
            try:
                yield from senders.map(send, list(_groups(photos, there)))
            finally:
                ended.set()  # after a Ctrl-C nobody waits for the groups that are sent again

    def _send_once(self, batch: str, first: int, group: Sequence[Path], choices: dict[str, str]) -> None:
        with contextlib.ExitStack() as opened:
            files = [("inputFile", (readable(path.name), opened.enter_context(path.open("rb")))) for path in group]
            query = {"first": str(first)} | {name: choice for name, choice in choices.items() if choice}
            self._call("POST", f"/batches/{batch}/photos", params=query, files=files)

    def photos(self, batch: str, after: int = -1, page: int = PAGE) -> Iterator[dict[str, Any]]:
        """The photos of a batch after index `after`, in order, with their results; `page` of them in a call."""
        following: str | None = f"/v1/batches/{batch}/results?after={after}&limit={page}"
        while following:
            found = self._call("GET", following).json()
            yield from found["photos"]
            following = found["next"]

    def batch(self, batch: str) -> dict[str, Any]:
        """The summary of a batch: its state and counts."""
        return dict(self._call("GET", f"/v1/batches/{batch}").json())

    def cost(self, batch: str) -> str:
        """What labelling a batch cost, in words; empty when it is not known."""
        return str((self.batch(batch).get("cost") or {}).get("words", ""))

    def status(self, batch: str) -> str:
        """What goes on with a batch, and why too few workers start if something stands in the way."""
        told = self._call("GET", f"/batches/{batch}/status").json()
        return ". ".join(filter(None, [str(told["line"]), str(told.get("hindrance", ""))]))

    def cancel(self, batch: str) -> dict[str, int]:
        """Cancel the photos without a result. Returns how many are cancelled, were `before`, and had been labelled."""
        before = self.batch(batch)["cancelled"]
        done = self._call("POST", f"/v1/batches/{batch}/cancel").json()
        return {"cancelled": int(done["cancelled"]), "labelled": int(done["labelled"]), "before": int(before)}

    def retry(self, batch: str) -> int:
        """Label the failed photos of a batch again. Returns how many there are that may succeed."""
        return int(self._call("POST", f"/v1/batches/{batch}/retry").json()["retried"])

    def delete(self, batch: str) -> int:
        """Delete all that is kept of a batch. Returns how many photos it had."""
        return int(self._call("DELETE", f"/v1/batches/{batch}").json()["photos"])

    def check_model(self, model: str) -> None:
        """Raise Permanent unless a request may name `model`."""
        names = [one["name"] for one in self.models()]
        if model not in names:
            raise not_served(model, names)

    def models(self) -> list[dict[str, Any]]:
        """List the models that a request may name."""
        return list(self._call("GET", "/v1/models").json()["models"])

    def _call(self, method: str, path: str, **request: Any) -> requests.Response:
        try:
            reply = self._session.request(method, f"{self.address}{path}", timeout=120, **request)
        except requests.RequestException as error:
            raise Retryable(
                f"no Shoal answers at {self.address} ({type(error).__name__}): start it, or give --url"
            ) from error
        if reply.status_code >= 500 or reply.status_code == TOO_MANY:
            raise Retryable(f"{self.address} answers {reply.status_code}: {reply.text.strip()[:300]}")
        if not reply.ok:
            refusal = NotFound if reply.status_code == UNKNOWN else Permanent
            raise refusal(f"{self.address} refuses ({reply.status_code}): {_why(reply)}")
        return reply


@contextlib.contextmanager
def told(away: Callable[[str], None], seconds: float) -> Iterator[None]:
    """Tell `away` of a call in the block that had no answer, which is made again for `seconds`."""
    try:
        yield
    except Retryable as error:
        away(f"{str(error).rstrip('.')}. Trying again for {seconds:g} s.")
        raise


def _groups(photos: Sequence[Path], there: Collection[int]) -> Iterator[tuple[int, list[Path]]]:
    """Yield (index of the first photo, photos) for each group of neighbours, without those that are there."""
    first, group, size = 0, list[Path](), 0
    for index, path in enumerate(photos):
        if index not in there:
            first = first if group else index
            size += path.stat().st_size
            group.append(path)
        if group and (index in there or len(group) == GROUP_PHOTOS or size >= GROUP_BYTES):
            yield first, group
            group, size = [], 0
    if group:
        yield first, group


def _why(reply: requests.Response) -> str:
    with contextlib.suppress(ValueError, AttributeError):
        body = reply.json()
        return str(body.get("detail") or body.get("error"))
    return reply.text.strip()[:300]


def is_up(address: str) -> bool:
    """Whether a web tier answers at `address`."""
    try:
        return session_for(address).get(f"{address}/healthz", timeout=2).ok
    except (requests.RequestException, ShoalError):
        return False
