"""Whose a batch or a bulk run is; and of a batch its share link: who has it may look at it until it is revoked."""

from __future__ import annotations

import secrets

from shoal.accounts import records
from shoal.ports import ObjectStore

OWNERS = "owners"  # of a batch: who made it
BATCHES = "batches"  # of an owner: an empty object for each
SHARES = "shares"  # of a batch: the token of its link
# Whatever deletes a batch deletes its objects in all folders, by their names: `<folder>/<batch>/...`.
OWNER = "owner"
LINK = "link"

_TOKEN_BYTES = 16


class OwnedBatches:
    """The owners of all batches. Every method may raise Retryable."""

    def __init__(self, outputs: ObjectStore) -> None:
        self._outputs = outputs

    def begin(self, batch: str, owner: str) -> None:
        """Note who makes a batch, before its first photo."""
        self.note(batch, owner)
        # Last: a list drops what has no owner.
        records.write(self._outputs, records.place(BATCHES, f"{owner}/{batch}"), {})

    def note(self, name: str, owner: str) -> None:
        """Note whose a batch or a bulk run is, and list it nowhere."""
        records.write(self._outputs, records.place(OWNERS, f"{name}/{OWNER}"), {"owner": owner})

    def owner(self, batch: str) -> str:
        """Who made a batch; empty when nobody had to sign in then."""
        found = records.read(self._outputs, records.place(OWNERS, f"{batch}/{OWNER}"))
        return str(found.get("owner", "")) if found else ""

    def of(self, owner: str) -> list[str]:
        """The batches of an owner, the oldest first."""
        return records.names(self._outputs, f"{BATCHES}/{owner}")

    def share(self, batch: str) -> str:
        """The token of the batch's share link, made if there is none."""
        key = records.place(SHARES, f"{batch}/{LINK}")
        records.write_new(self._outputs, key, {"token": secrets.token_urlsafe(_TOKEN_BYTES)})
        return self.shared(batch)

    def shared(self, batch: str) -> str:
        """The token of the batch's share link; empty when it is not shared."""
        found = records.read(self._outputs, records.place(SHARES, f"{batch}/{LINK}"))
        return str(found.get("token", "")) if found else ""

    def unshare(self, batch: str) -> None:
        """Revoke the share link. A later link is another one."""
        self._outputs.delete(records.place(SHARES, f"{batch}/{LINK}"))

    def drop(self, batch: str, owner: str) -> None:
        """Take a batch that was deleted from the list of its owner."""
        self._outputs.delete(records.place(BATCHES, f"{owner}/{batch}"))
