"""How faults are logged."""

from __future__ import annotations

import logging

import pytest

from shoal.logs import OneLine, WarnOnce


def test_a_fault_is_logged_when_it_begins_and_not_while_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    faults = WarnOnce(logging.getLogger("shoal.test"))
    assert not faults.clear()
    for number in (1, 2):
        faults.warn("cannot see the %s (%d)", "queue", number)
    assert faults.clear()
    assert not faults.clear()
    faults.warn("cannot see the %s (%d)", "queue", 3)
    assert caplog.messages == ["cannot see the queue (1)", "cannot see the queue (3)"]


def test_what_a_stranger_sent_begins_no_line_and_steers_no_terminal() -> None:
    path = "/v1/batches/x\n12:00:00 INFO all is well\x1b[2J\r\u2028\x9b é\t"
    record = logging.LogRecord("web_tier", logging.INFO, __file__, 1, "GET %s: 404", (path,), None)
    shown = OneLine("%(name)s: %(message)s").format(record)
    assert shown == r"web_tier: GET /v1/batches/x\n12:00:00 INFO all is well\x1b[2J\r\u2028\x9b é" + "\t: 404"
