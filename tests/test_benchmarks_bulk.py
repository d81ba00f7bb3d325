"""What a million images cost in a bulk run, by the measured rates."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from benchmarks.bulk.__main__ import main
from benchmarks.bulk.price import of_a_million


def test_a_million_images_cost_a_dollar_and_a_half_at_most_in_int8() -> None:
    (found,) = of_a_million(["c7a.large"])
    assert found.arithmetic == "int8"
    assert found.total <= 1.5
    assert found.requests == pytest.approx(
        0.4 + found.shards * 9 * 5e-6, rel=0.05
    )  # a read for each photo, else shards
    assert found.hours * 3600 * found.images_per_second == pytest.approx(1_000_000)


def test_slower_decoding_costs_more_and_a_type_that_nobody_measured_is_refused() -> None:
    assert of_a_million(["c7a.large"], decode_seconds=0.02)[0].total > of_a_million(["c7a.large"])[0].total
    told = CliRunner().invoke(main, ["price", "t4g.large"])
    assert (told.exit_code, told.output) == (1, "Error: the speed or the price of t4g.large is not known\n")
    assert "c6i.large" in CliRunner().invoke(main, ["price"]).output
