"""What a label says in the API, a batch's files and the command: name, readable name, WordNet id, class number."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from inference.model import labels
from shoal.messages import Label, Result
from tests.web_fixtures import Site, jpeg, running_site

WHOLE = {"name": "hair_spray", "readable": "hair spray", "wordnet_id": "n00000000", "class_id": 0}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


def submit(site: Site) -> dict[str, Any]:
    files = [("inputFile", ("test_0.jpg", jpeg()))]
    answer = requests.post(f"{site.url}/v1/batches", files=files, headers={"Prefer": "wait=20"}, timeout=30)
    assert answer.ok, answer.text
    return dict(answer.json())


def test_the_api_says_all_of_a_label(site: Site) -> None:
    best = submit(site)["photos"][0]["labels"][0]

    assert {name: best[name] for name in WHOLE} == WHOLE
    schema = requests.get(f"{site.url}/openapi.json", timeout=10).json()["components"]["schemas"]["Label"]
    assert set(schema["properties"]) == set(best)


def test_the_files_of_a_batch_say_all_of_a_label(site: Site) -> None:
    batch = submit(site)["batch"]

    [row] = csv.DictReader(io.StringIO(requests.get(f"{site.url}/batches/{batch}.csv", timeout=10).text))
    [photo] = requests.get(f"{site.url}/batches/{batch}.json", timeout=10).json()["photos"]

    assert (row["label"], row["readable"], row["wordnet_id"], row["class_id"]) == (*map(str, [
        WHOLE["name"], WHOLE["readable"], WHOLE["wordnet_id"], WHOLE["class_id"],
    ]),)  # fmt: skip
    assert {name: photo["labels"][0][name] for name in WHOLE} == WHOLE


def test_the_command_says_all_of_a_label(site: Site, tmp_path: Path) -> None:
    (tmp_path / "test_0.jpg").write_bytes(jpeg())
    environment = os.environ | {"SHOAL_STATE_DIR": str(tmp_path / "state")}

    def run(form: str) -> str:
        command = [sys.executable, "-m", "shoal_cli", "classify", "--url", site.url, form, str(tmp_path)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout

    [row] = csv.DictReader(io.StringIO(run("--csv")))
    assert (row["label"], row["readable"], row["wordnet_id"], row["class_id"]) == (
        "hair_spray", "hair spray", "n00000000", "0",
    )  # fmt: skip
    best = json.loads(run("--json"))["labels"][0]
    assert {name: best[name] for name in WHOLE} == WHOLE


def test_a_result_without_class_numbers_is_read() -> None:
    old = '{"v":1,"key":"k","status":"done","labels":[{"name":"a_b","wordnet_id":"n1","probability":0.5}]}'
    assert Result.from_json(old).labels == (Label("a_b", "n1", 0.5),)
    new = Result("k", "done", (Label("a_b", "n1", 0.5, 7),))
    assert Result.from_json(new.to_json()) == new


def test_two_classes_of_one_name_differ_by_their_ids() -> None:
    known = labels("imagenet.csv")
    for name in ("crane", "maillot"):
        assert len({number for number, found in known if found == name}) == 2
