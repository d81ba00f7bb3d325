"""Keeps moto's state on disk: writes changes down and restores them at the next start.

"Books" are moto's records of instances, images, groups, roles and so on.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from local_cloud.ec2 import groups, roles
from local_cloud.ec2.hooks import Books
from local_cloud.ec2.images import ImageRecords
from local_cloud.ec2.journal import Application, CallJournal, CallsFile
from local_cloud.ec2.record import books_lock
from local_cloud.ec2.records_file import RecordsFile
from local_cloud.guard.policies import PolicyFile
from local_cloud.machines.instance_host import InstanceHost

PAUSE_SECONDS = 0.05


class BooksKeeper:
    """Writes the books down when an instance changes by itself. The journal writes down calls."""

    def __init__(
        self,
        books: Books,
        host: InstanceHost,
        changed: threading.Event,
        policies: PolicyFile,
        *,
        instances: Path,
        images: Path,
        calls: Path,
    ) -> None:
        """`instances` and `images` are folders; `calls` is the file of the journal."""
        self._books = books
        self._host = host
        self._changed = changed
        self._records = RecordsFile(instances, host)
        self._images = ImageRecords(images)
        self._calls = CallsFile(calls)
        self._policies = policies
        self._documents: Mapping[str, Sequence[str]] | None = None
        self._region = str(books.backend.region_name)

    def journal(self, moto_app: Application) -> CallJournal:
        """The layer around moto that writes calls down."""
        return CallJournal(
            moto_app,
            self._calls,
            self.save,
            lambda: groups.desired_capacities(self._region),
            self._books.backend.key_pairs,
        )

    def save(self) -> None:
        """Write down what has changed."""
        with books_lock:
            self._records.save(self._books.records)
            self._images.save(self._books.backend)
            documents = roles.policy_documents()
            if documents != self._documents:
                self._policies.write(documents)
                self._documents = documents

    def restore(self, journal: CallJournal) -> list[str]:
        """Restore what earlier runs wrote down, before the first call. Returns a line for each failure."""
        with books_lock:
            self._images.restore(self._books.backend, self._host)
        refused = journal.repeat()
        # Instances last: they need their networks, templates and profiles.
        refused += self._books.restore(self._records)
        self.save()
        return refused

    def start(self) -> None:
        threading.Thread(target=self._run, name="books", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._changed.wait()
            # Instances that start together are written once.
            time.sleep(PAUSE_SECONDS)
            self._changed.clear()
            self.save()
