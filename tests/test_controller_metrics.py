"""The numbers that the controller gives away: to Prometheus, to CloudWatch."""

from __future__ import annotations

import json
import logging
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.running.ports import free_port
from controller import metrics as module
from controller.ledger import Tick
from controller.metrics import UNITS, CloudWatch, EmbeddedMetrics, Metrics
from controller.plan import Drain, Launch, Terminate
from controller.policy import Decision, Observation
from shoal.aws import put_metrics
from shoal.aws.clients import client
from shoal.errors import Retryable
from shoal.ledger import Refusal
from shoal.memory import ManualClock
from shoal.ports import Depth, Instance


def tick(**changes: object) -> Tick:
    instances = tuple(
        [Instance(f"i-{n}", f"n{n}", "running", 0.0) for n in range(3)] + [Instance("i-9", "n9", "pending", 0.0)]
    )
    values = {
        "observation": Observation(1_700_000_000.0, Depth(7, 2, 1), instances),
        "decision": Decision(12, "need 12"),
        "done": (Launch(("a", "b")), Drain(("i-1",)), Terminate(("i-2",), "overdue")),
        "refused": (Refusal(5, "cap 15"), Refusal(1, "budget")),
        "token": 42,
    }
    return Tick(**{**values, **changes})  # type: ignore[arg-type]


def scrape(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {
            sample.name + "".join(f"/{value}" for value in sample.labels.values()): sample.value
            for family in families
            for sample in family.samples
        }


def test_prometheus_reads_what_the_ticks_saw_and_did() -> None:
    metrics, port = Metrics(), free_port()
    stop = metrics.serve(port)
    try:
        metrics.ticked(None, 0.2, held=False)
        standby = scrape(port)
        assert (standby["shoal_lease_held"], standby["shoal_blind"]) == (0, 0)
        metrics.ticked(tick(), 0.03, held=True)
        metrics.ticked(tick(), 0.03, held=True)
        found = scrape(port)
        assert [found[f"shoal_backlog/{kind}"] for kind in ("visible", "in_flight", "delayed")] == [7, 2, 1]
        assert [found[f"shoal_machines/{state}"] for state in ("running", "pending", "leaving", "lost")] == [3, 1, 0, 0]
        assert found["shoal_desired_capacity"] == 12
        done = ("launches", "drains", "terminations", "refusals")
        assert [found[f"shoal_{name}_total"] for name in done] == [4, 2, 2, 12]
        assert (found["shoal_lease_held"], found["shoal_lease_token"]) == (1, 42)
        assert found["shoal_tick_seconds_count"] == 3
        assert found["shoal_tick_seconds_sum"] == pytest.approx(0.26)
        metrics.ticked(None, 0.03, held=True)
        assert scrape(port)["shoal_blind"] == 1
        assert scrape(port)["shoal_backlog/visible"] == 7
    finally:
        stop()
    with pytest.raises(urllib.error.URLError):
        scrape(port)


def test_a_dry_run_counts_no_acts() -> None:
    metrics = Metrics()
    metrics.ticked(tick(dry_run=True), 0.01, held=False)
    assert metrics.registry.get_sample_value("shoal_launches_total") == 0


def test_cloudwatch_gets_a_minute_at_a_time_and_nothing_from_a_controller_that_stands_by() -> None:
    clock, published = ManualClock(), list[Mapping[str, float]]()
    cloudwatch = CloudWatch(published.append, clock.now)
    for _ in range(61):
        cloudwatch.ticked(tick(), 0.02)
        cloudwatch.ticked(None, 9.9)
        clock.wait(1)
    [minute] = published
    assert minute["Launches"] == 61 * 2
    assert minute["Refusals"] == 61 * 6
    assert minute["TickSeconds"] == 0.02
    assert minute["GroupDesiredCapacity"] == 12
    assert minute["GroupInServiceInstances"] == 3
    assert minute["ApproximateNumberOfMessagesVisible"] == 7
    assert minute["BacklogPerInstance"] == pytest.approx(10 / 3, abs=0.001)
    for _ in range(60):
        clock.wait(1)
        cloudwatch.ticked(tick(done=()), 0.02)
    assert published[1]["Launches"] == 0


def test_a_publisher_that_fails_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()

    def unreachable(_: Mapping[str, float]) -> None:
        raise Retryable("no route")

    cloudwatch = CloudWatch(unreachable, clock.now)
    with caplog.at_level(logging.WARNING):
        for _ in range(180):
            clock.wait(1)
            cloudwatch.ticked(tick(), 0.02)
    assert caplog.text.count("cannot publish metrics") == 1


def test_the_embedded_metric_format_names_every_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, clock = tmp_path / "metrics.jsonl", ManualClock()
    publish = EmbeddedMetrics(path, "shoal", clock.now)
    cloudwatch = CloudWatch(publish, clock.now)
    clock.wait(60)
    cloudwatch.ticked(tick(), 0.02)
    line = json.loads(path.read_text())
    [directive] = line["_aws"]["CloudWatchMetrics"]
    assert line["_aws"]["Timestamp"] == int(clock.now() * 1000)
    assert (directive["Namespace"], directive["Dimensions"], line["Pool"]) == ("Shoal", [["Pool"]], "shoal")
    assert {one["Name"] for one in directive["Metrics"]} == set(line) - {"_aws", "Pool"}
    assert {one["Unit"] for one in directive["Metrics"]} == {"Count", "Seconds"}
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    publish({"Launches": 1})
    assert len(path.read_text().splitlines()) == 1
    assert (tmp_path / "metrics.jsonl.1").exists()


@pytest.mark.usefixtures("embedded_cloud")
def test_put_metric_data_reaches_cloudwatch() -> None:
    pool = f"t{uuid.uuid4().hex[:12]}"
    put_metrics(pool, UNITS)({"GroupDesiredCapacity": 12, "TickSeconds": 0.02})
    answer = client("cloudwatch").list_metrics(Namespace="Shoal", Dimensions=[{"Name": "Pool", "Value": pool}])
    assert {one["MetricName"] for one in answer["Metrics"]} == {"GroupDesiredCapacity", "TickSeconds"}
