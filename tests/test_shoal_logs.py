"""How faults are logged."""

from __future__ import annotations

import logging

import pytest

from shoal.logs import WarnOnce


def test_a_fault_is_logged_when_it_begins_and_not_while_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    faults = WarnOnce(logging.getLogger("shoal.test"))
    assert not faults.clear()
    for number in (1, 2):
        faults.warn("cannot see the %s (%d)", "queue", number)
    assert faults.clear()
    assert not faults.clear()
    faults.warn("cannot see the %s (%d)", "queue", 3)
    assert caplog.messages == ["cannot see the queue (1)", "cannot see the queue (3)"]
