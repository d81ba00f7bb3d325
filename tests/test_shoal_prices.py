"""What an instance costs, and what is said where that is not known."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner

from shoal import aws
from shoal.buckets import function_use
from shoal.memory import ManualClock, MemoryStore
from shoal.messages import Result
from shoal.prices import (
    comparably,
    cost_in_words,
    function_cost,
    function_price_in_words,
    listed,
    price_in_words,
    price_per_hour,
    unknown_types,
)
from shoal.settings import load, load_with_env_file
from shoal_cli import doctor, status


def test_the_list_has_forty_types_each_with_date_and_source() -> None:
    assert len(listed()) >= 40
    for kind, price in listed().items():
        assert 0.001 < price.per_hour < 10, kind
        assert price.noted.startswith("20"), kind
        assert price.source == "unverified" or price.source.startswith("https://"), kind
    assert {"c7i.large", "c7a.large", "t3.medium", "t3a.large", "m7i.xlarge", "c7g.large"} <= listed().keys()


def test_a_larger_instance_of_a_family_is_dearer() -> None:
    sizes = ("nano", "micro", "small", "medium", "large", "xlarge", "2xlarge")
    for family in {kind.partition(".")[0] for kind in listed()}:
        prices = [listed()[f"{family}.{size}"].per_hour for size in sizes if f"{family}.{size}" in listed()]
        assert prices == sorted(prices)
        assert len(set(prices)) == len(prices) >= 3


def test_the_dearest_type_counts_and_an_unknown_one_makes_the_price_unknown() -> None:
    assert price_per_hour(load({})) == 0.0416
    assert price_per_hour(load({"SHOAL_INSTANCE_TYPE": "c7i.large"})) == 0.08925
    assert price_per_hour(load({"SHOAL_INSTANCE_TYPE": "t3.medium, m5.large"})) == 0.096
    unknown = load({"SHOAL_INSTANCE_TYPE": "t3.medium, x9.huge"})
    assert (price_per_hour(unknown), unknown_types(unknown)) == (None, ("x9.huge",))
    given = load({"SHOAL_INSTANCE_TYPE": "x9.huge", "SHOAL_PRICE_PER_HOUR": "2"})
    assert (price_per_hour(given), unknown_types(given)) == (2.0, ())


def test_two_small_amounts_can_be_compared() -> None:
    assert [comparably(amount, about=True) for amount in (0.00214, 0.31)] == [
        "under a cent (about $0.0021)",
        "about $0.31",
    ]
    assert [comparably(amount) for amount in (0.00214, 0.000034, 0.0, 0.31)] == [
        "under a cent ($0.0021)", "under a cent ($0.000034)", "$0.00", "$0.31",
    ]  # fmt: skip
    # Rounding reaches the next ten.
    assert [comparably(amount) for amount in (0.00000997, 0.00996)] == ["under a cent ($0.000010)", "$0.01"]


def test_the_words_name_the_source_or_what_to_do() -> None:
    listing = "(t3.medium in us-east-1, noted 2025, unverified)"
    assert price_in_words(load({})) == f"$0.0416 an hour for each instance {listing}"
    assert price_in_words(load({"SHOAL_PRICE_PER_HOUR": "2"})) == "$2 an hour for each instance"
    here = load_with_env_file({"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"})
    assert price_in_words(here) == f"nothing on this machine; would cost $0.0416 an hour for each instance {listing}"
    assert cost_in_words(here, "$0.10") == "would cost $0.10 on t3.medium"
    own = load_with_env_file({"AWS_ENDPOINT_URL": "http://127.0.0.1:4566", "SHOAL_PRICE_PER_HOUR": "2"})
    elsewhere = load_with_env_file({"AWS_ENDPOINT_URL": "https://ec2.example.org"})
    assert {cost_in_words(own, "$0.10"), cost_in_words(elsewhere, "$0.10")} == {"$0.10"}
    unknown = price_in_words(load({"SHOAL_INSTANCE_TYPE": "x9.huge,t3.medium,y1.tiny"}))
    assert unknown == "no price is known for x9.huge, y1.tiny: correct SHOAL_INSTANCE_TYPE, or set SHOAL_PRICE_PER_HOUR"


@pytest.mark.usefixtures("embedded_cloud")
def test_status_and_doctor_say_that_a_price_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_PREFIX", "prices")
    monkeypatch.setenv("SHOAL_INSTANCE_TYPE", "x9.huge")
    aws.prepare(load())
    told = "no price is known for x9.huge: correct SHOAL_INSTANCE_TYPE, or set SHOAL_PRICE_PER_HOUR"
    assert told in CliRunner().invoke(status.command, [], catch_exceptions=False).output
    shown = CliRunner().invoke(status.command, ["--json"], catch_exceptions=False).output
    assert '"price_per_hour": null, "unknown_prices": ["x9.huge"]' in shown
    assert f"note price: {told}" in CliRunner().invoke(doctor.command, [], catch_exceptions=False).output


def test_a_function_costs_its_gigabyte_seconds_and_its_calls() -> None:
    assert function_cost(1024, 60_000.0, 0) == pytest.approx(1.000002)
    assert function_cost(512, 0.0, 5_000_000) == pytest.approx(1.0)
    words = function_price_in_words(load({"SHOAL_LAMBDA_MEMORY_MB": "1024"}))
    assert words.startswith("$0.02 for 1,000 photos of one second each with 1024 MB (noted 20")


def test_what_the_function_labelled_is_counted_from_its_results() -> None:
    clock = ManualClock()
    outputs = MemoryStore(clock)
    outputs.put("lambda/old.jpg", Result("lambda/old.jpg", "done", seconds={"infer": 9.0}).to_json().encode(), "")
    clock.wait(100)
    began = clock.now()
    assert function_use.since(outputs, "lambda/", began) is None
    for number in range(20):
        result = Result(f"lambda/{number}.jpg", "done", seconds={"fetch": 1.0, "decode": 0.05, "infer": 0.1})
        outputs.put(result.key, result.to_json().encode(), "application/json")
    outputs.put("lambda/broken.jpg", b"{", "application/json")
    outputs.put("elsewhere.jpg", b"{", "application/json")
    found = function_use.since(outputs, "lambda/", began)
    assert found is not None
    assert (found.photos, found.whole) == (21, True)
    assert found.labelling_seconds == pytest.approx(0.15)
    on_aws = load({"SHOAL_LAMBDA_MEMORY_MB": "1024"})
    assert found.cost(on_aws) == pytest.approx(function_cost(1024, 21 * 0.2, 21))
    here = replace(on_aws, emulated=True)
    assert found.cost(here) == pytest.approx(function_cost(1024, 21 * 0.2 * 1769 / 1024, 21))
    assert found.in_words(here) == "21 photos, would cost under a cent ($0.00013)"
