"""What the pages say of the last day, from the controller's ledger."""

from __future__ import annotations

import json
from pathlib import Path

from shoal import ledger_file
from shoal.memory import ManualClock
from tests.fleet_fixtures import write_ledger
from web_tier.watching import history
from web_tier.watching.history import History
from web_tier.watching.report import FleetReport


def test_photos_that_were_cancelled_are_no_images(tmp_path: Path) -> None:
    path = write_ledger(tmp_path, 49_000.0, minutes=5) / ledger_file.NAME
    past = History(ledger_file.Follower(path), ManualClock(49_010.0))
    done = history.done(past.read() or ())
    last = json.loads(path.read_text().splitlines()[-1])
    with path.open("a") as file:
        file.write(json.dumps(last | {"at": 49_005.0, "finished": 100, "dropped": 73}) + "\n")
    moments = past.read() or ()
    assert history.done(moments) == done + 27
    assert moments[-1].finished == done + 100  # by which machines are shared among batches
    assert history.rates(moments, 49_000.0, 49_005.0, 1) == [(49_005.0, 27 / 5)]


def test_photos_of_bulk_runs_are_images_and_bear_their_share_of_the_machines(tmp_path: Path) -> None:
    path = write_ledger(tmp_path, 49_000.0, minutes=5) / ledger_file.NAME
    last = json.loads(path.read_text().splitlines()[-1])
    with path.open("a") as file:
        for second in (4, 8):
            told = {"at": 49_000.0 + second, "finished": 10, "dropped": 0, "bulk_finished": 90, "machines": 1}
            file.write(json.dumps(last | told | {"done": []}) + "\n")
    moments = History(ledger_file.Follower(path), ManualClock(49_010.0)).read() or ()
    assert history.rates(moments, 49_000.0, 49_008.0, 1) == [(49_008.0, 200 / 8)]
    assert history.share(moments, 49_004.0, 49_008.0, 10, 3600.0) == 4 * 10 / 100
    report = FleetReport(49_010.0, None, 0, 0.0, None, None, moments)
    assert report.decisions[0].at < 49_004.0  # what is said again is shown once
