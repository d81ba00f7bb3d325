"""What a million images cost in a bulk run by the measured rates, and the measures that need no cloud."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from benchmarks.bulk.__main__ import main
from benchmarks.bulk.listing import ForgetfulStore, SyntheticBucket
from benchmarks.bulk.price import of_a_million
from runs.listing import Step
from runs.records import RunRecords
from runs.run import Run
from shoal.clock import SystemClock
from shoal.memory import memory_cloud
from shoal.messages import new_batch


def test_a_million_images_cost_a_dollar_and_a_half_at_most_in_int8() -> None:
    (found,) = of_a_million(["c7a.large"])
    assert found.arithmetic == "int8"
    assert found.total <= 1.5
    assert found.requests == pytest.approx(
        0.4 + found.shards * 9 * 5e-6, rel=0.05
    )  # a read for each photo, else shards
    assert found.hours * 3600 * found.images_per_second == pytest.approx(1_000_000)


def test_the_first_step_of_a_listing_is_short_and_the_first_results_and_the_memory_are_measured() -> None:
    records = RunRecords(ForgetfulStore())
    run = Run(new_batch(1.0), "s3://photos", "photos", "")
    step = Step(records, memory_cloud(SystemClock()).bulk, run, SyntheticBucket(30_000))
    assert [step.do(number).seen for number in range(3)] == [2_000, 22_000, 30_000]
    told = CliRunner().invoke(main, ["first", "--keys", "3000", "--page-ms", "0", "--workers", "1"]).output
    assert told.startswith("3,000 keys: counted after ")
    assert CliRunner().invoke(main, ["memory", "--keys", "3000"]).output.startswith("3,000 keys: ")


def test_slower_decoding_costs_more_and_a_type_that_nobody_measured_is_refused() -> None:
    assert of_a_million(["c7a.large"], decode_seconds=0.02)[0].total > of_a_million(["c7a.large"])[0].total
    told = CliRunner().invoke(main, ["price", "t4g.large"])
    assert (told.exit_code, told.output) == (1, "Error: the speed or the price of t4g.large is not known\n")
    assert "c6i.large" in CliRunner().invoke(main, ["price"]).output
