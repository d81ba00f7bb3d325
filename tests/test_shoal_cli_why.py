"""`shoal why`, `status` and `watch`: what the ledger tells in a sum, and what holds the pool back."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from shoal import ledger_file
from shoal.ledger import DoneAct, Entry, Refusal, Spent
from shoal.ports import Beat, Depth, Instance
from shoal.settings import Settings, load
from shoal_cli import status, watch, why
from shoal_cli.__main__ import shoal

NOW = 1_800_000_000.0
BUDGET = Refusal(2, "budget $0.05 a day: one more machine to midnight UTC is $0.25, $0.05 are left")


def entry(ago: float, sentence: str, machines: int, launched: int = 0) -> Entry:
    done = (DoneAct("launch", tuple(map(str, range(launched)))),) if launched else ()
    return Entry(NOW - ago, sentence, 5, 0, 0, machines, machines, done=done)


LEDGER = [
    entry(100, "backlog 0, nothing to do", 0),
    entry(40, "backlog 9; launched 2", 0, 2),
    entry(39, "backlog 8; 2 running", 2),
    entry(38, "backlog 7; 2 running", 2),
    entry(37, "backlog 6; 2 running", 2),
    entry(30, "backlog 60; launched 2", 2, 2),
    entry(20, "backlog 0; asked 4 to leave", 4),
    entry(15, "backlog 0; desired 0, nothing to do", 0),
]


def test_the_sum_has_peak_machine_seconds_cost_and_launches() -> None:
    # 2 machines for 10 s, 4 for 15 s.
    chosen = load({"SHOAL_PRICE_PER_HOUR": "36"})
    told = "peak 4, 80 machine-seconds, $0.80, 4 launches; EC2 bills each a minute at least, so $2.40 there"
    assert why.total(LEDGER, NOW - 60, NOW, chosen) == told
    assert why.total(LEDGER, NOW - 25, NOW, chosen) == "peak 4, 40 machine-seconds, $0.40, 0 launches"
    assert why.total(LEDGER[1:2], NOW - 60, NOW - 39, chosen).startswith("peak 2, 2 machine-seconds, $0.02, 2 launches")
    here = [replace(one, emulated=True) for one in LEDGER]  # and its cloud was stopped
    assert ", would cost $0.0009 on t3.medium, 4 launches; EC2 bills" in why.total(here, NOW - 60, NOW, load({}))
    dry = [replace(one, dry_run=True) for one in LEDGER]
    assert why.total([*LEDGER, *dry], NOW - 60, NOW, chosen) == why.total(LEDGER, NOW - 60, NOW, chosen)


def test_a_machine_that_leaves_within_a_minute_is_told_beside_others_that_stay() -> None:
    ends = replace(entry(20, "asked 1 to leave", 5), done=(DoneAct("drain", ("i-1",)),))
    history = [entry(100, "4 running", 4), entry(50, "launched 1", 4, 1), ends, entry(19, "4 running", 4)]
    told = why.total(history, NOW - 60, NOW, load({"SHOAL_PRICE_PER_HOUR": "36"}))
    assert told.endswith(", 1 launch; EC2 bills each a minute at least, so up to $0.30 more there")
    assert "EC2" not in why.total(history[:2] + history[3:], NOW - 90, NOW, load({"SHOAL_PRICE_PER_HOUR": "36"}))


def test_machines_count_while_nobody_looked_if_they_were_there_before_and_afterwards() -> None:
    chosen = load({"SHOAL_PRICE_PER_HOUR": "36"})
    launched = entry(60, "launched 3", 0, 3)
    stopped = replace(entry(50, "controller stopped", 3), ends=True)

    def seconds(*entries: Entry) -> str:
        return why.total(entries, NOW - 100, NOW, chosen).partition(", ")[2].partition(" ")[0]

    assert seconds(launched, stopped) == "30"  # what was launched counts, and nothing after the stop
    assert seconds(launched, stopped, replace(entry(20, "backlog 0", 0), begins=True)) == "30"
    assert seconds(launched, stopped, replace(entry(20, "backlog 0", 2), begins=True)) == "130"  # the pool stayed
    killed = entry(60, "backlog 1", 3)
    assert seconds(killed, replace(entry(20, "backlog 0", 1), begins=True)) == "60"


def test_sentences_that_differ_in_their_figures_alone_are_told_once() -> None:
    assert [len(run) for run in why.runs(LEDGER)] == [1, 1, 3, 1, 1, 1]


@pytest.mark.parametrize(("given", "told"), [("80s", "80 s"), ("1.5h", "90 m"), ("2d", "2 d"), ("0.5s", "0.5 s")])
def test_a_time_is_told_in_the_largest_unit_that_it_is_whole_in(given: str, told: str) -> None:
    assert why.words(why.Duration().convert(given, None, None)) == told


def test_the_command_begins_with_the_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_STATE_DIR", str(tmp_path))
    shift = time.time() - NOW
    lines = "".join(f"{replace(one, at=one.at + shift).to_json()}\n" for one in LEDGER)
    (tmp_path / ledger_file.NAME).write_text(lines)

    first, *rest = CliRunner().invoke(shoal, ["why", "--last", "2m"], catch_exceptions=False).output.splitlines()

    assert first.startswith("In the last 2 m: peak 4, 80 machine-seconds, $")
    assert len(rest) == 6
    assert "backlog 8; 2 running (and 2 more like it until " in rest[2]
    whole = CliRunner().invoke(shoal, ["why", "--last", "2m", "--json"], catch_exceptions=False).output
    assert whole.count("\n") == len(LEDGER)


def test_what_holds_the_pool_back_is_said_with_the_sum(tmp_path: Path) -> None:
    refused = replace(LEDGER[-1], refused=(BUDGET,))
    path = tmp_path / ledger_file.NAME
    path.write_text(f"{refused.to_json()}\n{replace(LEDGER[0], dry_run=True).to_json()}\n")
    assert BUDGET.why in ledger_file.hindrance(path)
    path.write_text(f"{refused.to_json()}\n{LEDGER[-1].to_json()}\n")
    assert ledger_file.hindrance(path) == ""

    seen = watch.Sight(True, Depth(5, 0, 0), 0, Counter(), 4)
    assert BUDGET.why in str(watch.frame(Settings(), seen, [refused]))
    assert "(at most 4)" in str(watch.frame(Settings(), seen, [refused]))
    assert BUDGET.why not in str(watch.frame(Settings(), replace(seen, backlog=Depth(0, 0, 0)), [refused]))


def test_an_instance_that_runs_without_a_worker_is_told_apart() -> None:
    running = Instance("i-1", "one", "running", NOW)
    assert status.state(running, {"i-1": Beat(1)}) == "running"
    assert status.state(running, {}) == "without a worker yet"  # after a count: 1 running, 1 without a worker yet
    assert status.state(replace(running, state="pending"), {}) == "pending"
    assert status.state(replace(running, drain_since=NOW), {}) == "leaving"
    assert status.state(running, {"i-1": Beat(9, leaving=True)}) == "leaving"


def test_status_tells_the_budget_also_while_nothing_waits() -> None:
    chosen = load({"SHOAL_BUDGET_AMOUNT": "0.05", "SHOAL_BUDGET_PERIOD": "hour"})
    assert status.budget_in_words(chosen, None) == "$0.05 an hour"
    idle = replace(LEDGER[0], spent=Spent(NOW, 0.012))
    assert status.budget_in_words(chosen, idle).startswith("$0.05 an hour, $0.01 spent until ")
    late = replace(idle, spent=Spent(NOW, 0.0, 1, since=NOW - 60))  # the budget was set after machines had run
    assert re.fullmatch(r"\$0.05 an hour, \$0.00 spent from .{5,16} to ..:..", status.budget_in_words(chosen, late))
    just = replace(idle, spent=Spent(NOW, 0.0, 1, since=NOW - NOW % 60))  # in the same minute
    assert re.fullmatch(r"\$0.05 an hour, \$0.00 spent, counted from ..:.. on", status.budget_in_words(chosen, just))
    early = replace(idle, spent=Spent(NOW, 0.01, 1, since=NOW - 3 * 86400))
    assert re.search(r"from ....-..-.. ..:.. to ..:..", status.budget_in_words(chosen, early))
    spent = replace(idle, no_launch="nothing is left")
    assert status.budget_in_words(chosen, spent).endswith("; no machine may start: nothing is left")
