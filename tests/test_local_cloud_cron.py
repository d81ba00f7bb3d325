"""Cron files: which line is due when, and which lines are refused."""

import contextlib
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_cloud.machines.cron import CronError, parse_line, parse_schedule, read_jobs

MONDAY = datetime(2024, 1, 1)
minutes = st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2030, 1, 1))


def due_in_a_day(schedule: str, day: datetime = MONDAY) -> list[str]:
    parsed = parse_schedule(schedule)
    each = (day + timedelta(minutes=minute) for minute in range(24 * 60))
    return [f"{minute:%H:%M}" for minute in each if parsed.is_due(minute)]


@pytest.mark.parametrize(
    ("schedule", "times"),
    [
        ("0 12 * * *", ["12:00"]),
        ("*/30 1-2 * * *", ["01:00", "01:30", "02:00", "02:30"]),
        ("5,50/5 0 * * *", ["00:05", "00:50", "00:55"]),
        ("0 0 1 jan *", ["00:00"]),
        ("0 0 * * MON", ["00:00"]),
        ("0 0 * * 2-7", []),
        ("0 0 2 * 1", ["00:00"]),
        ("0 0 2 * *", []),
        ("@daily", ["00:00"]),
        ("@reboot", []),
    ],
)
def test_when_a_job_is_due_on_monday_the_first_of_january(schedule: str, times: list[str]) -> None:
    assert due_in_a_day(schedule) == times


def test_sunday_is_0_and_7() -> None:
    sunday = MONDAY - timedelta(days=1)
    assert due_in_a_day("0 0 * * 0", sunday) == due_in_a_day("0 0 * * 7", sunday) == ["00:00"]


@given(minutes)
def test_stars_are_always_due(minute: datetime) -> None:
    assert parse_schedule("* * * * *").is_due(minute)


@given(minutes)
def test_a_schedule_that_spells_out_a_minute_is_due_in_it(minute: datetime) -> None:
    text = f"{minute.minute} {minute.hour} {minute.day} {minute.month} *"
    assert parse_schedule(text).is_due(minute)
    assert not parse_schedule(text).is_due(minute + timedelta(minutes=1))


@given(st.text())
def test_any_text_is_a_schedule_or_a_cron_error(text: str) -> None:
    with contextlib.suppress(CronError):
        parse_schedule(text)


@pytest.mark.parametrize(
    "line", ["* * * * root true", "60 * * * * root true", "5-1 * * * * root true", "* * * * * root", "@often root true"]
)
def test_a_line_that_makes_no_sense_is_refused(line: str) -> None:
    with pytest.raises(CronError):
        parse_line(line)


def test_what_a_cron_folder_holds(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text(
        "# a comment\n\nPATH=/usr/bin\nNAME='it is'\n"
        "* * * * *   root  date +\\%F; cat%not this\n"
        "@reboot root echo  two  spaces\n"
        "nonsense\n"
    )
    (tmp_path / ".placeholder").write_text("nonsense\n")
    complaints: list[str] = []
    jobs = list(read_jobs(tmp_path, complaints.append))
    assert [job.command for job in jobs] == [
        "export NAME='it is'; date +%F; cat",
        "export NAME='it is'; echo  two  spaces",
    ]
    assert [job.schedule.at_boot for job in jobs] == [False, True]
    assert len(complaints) == 1
    assert "jobs, line 7" in complaints[0]


def test_no_folder_no_jobs(tmp_path: Path) -> None:
    assert list(read_jobs(tmp_path / "none", print)) == []
