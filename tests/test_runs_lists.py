"""Lists of photos as the source of a run: what their lines mean, and that a run over them has every line once."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.exports.results import BucketResults, exported
from runs.lists.lines import LONGEST, lines_of
from runs.lists.reading import INVENTORY, KEYS, SOURCE_REF, read_inventory, read_line
from runs.manifest import BulkPhoto
from runs.run import again
from shoal import settings
from shoal.errors import Permanent
from shoal.memory import ManualClock, MemoryStore, memory_cloud
from shoal.messages import new_batch
from shoal.ports import Beat, Cloud
from shoal_cli._runs import _lists
from shoal_cli._runs import label as labelling
from tests.test_runs_exactly_once import rows_of
from tests.test_shoal_cli_label import said, the_run, work

STRANGE = ["a b", "a+b", "a%20b", "$$", "x\ny", 'say "so", please', "é/ü\u2028", "l" * 1024, "folder/", "s3://x"]
SCHEMA = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, ETag"


def stored(body: bytes) -> MemoryStore:
    store = MemoryStore(ManualClock())
    store.put("list", body, "text/plain")
    return store


@given(
    st.lists(st.binary(max_size=20).filter(lambda one: b"\n" not in one), max_size=30), st.booleans(), st.integers(1, 9)
)
def test_lines_come_once_from_any_cursor_on_whatever_the_parts(lines: list[bytes], packed: bool, size: int) -> None:
    plain = b"".join(one + b"\n" for one in lines)
    half = len(plain) // 2
    store = stored(gzip.compress(plain[:half]) + gzip.compress(plain[half:]) if packed else plain)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runs.lists.lines.PART_BYTES", size)
        found = list(lines_of(store, "list", packed=packed))
        assert [line for _, line in found] == lines
        for number, (end, _) in enumerate(found, 1):
            assert list(lines_of(store, "list", end, packed)) == found[number:]


def test_a_small_gzip_file_that_unpacks_to_a_huge_one_takes_little_memory() -> None:
    huge = 64_000_000
    store = stored(gzip.compress(b"0" * huge + b"\nlast"))
    tracemalloc.start()
    try:
        found = [(end, line[:4]) for end, line in lines_of(store, "list", packed=True)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == [(huge + 1, b"0000"), (huge + 5, b"last")]
    assert peak < huge / 4


def test_a_last_line_without_an_end_counts_and_a_line_without_end_fills_no_memory() -> None:
    assert list(lines_of(stored(b"a\nb"), "list")) == [(2, b"a"), (3, b"b")]
    [(end, line)] = lines_of(stored(b"x" * 3_000_000), "list")
    assert (end, len(line)) == (3_000_000, LONGEST)
    for body in (b"no gzip", gzip.compress(b"a\nb")[:-3]):
        with pytest.raises(Permanent, match="gzip"):
            list(lines_of(stored(body), "list", packed=True))


def test_keys_of_any_shape_are_read_from_each_kind_of_list() -> None:
    columns = SCHEMA.split(", ")
    for key in STRANGE:
        line = json.dumps({"source-ref": f"s3://photos/{key}", "label": 1}).encode()
        assert read_line(SOURCE_REF, line, "other") == BulkPhoto(key, bucket="photos")
        row = f'"photos","{quote_plus(key, safe="/")}","v1","true","false","12","abc"'.encode()
        assert read_line(INVENTORY, row, "photos", columns) == BulkPhoto(key, '"abc"', 12)
        if "\n" not in key and key != "s3://x":
            assert read_line(KEYS, f"{key}\r".encode(), "photos") == BulkPhoto(key)
            assert read_line(KEYS, f"s3://b/{key}".encode(), "photos") == BulkPhoto(key, bucket="b")


def test_old_versions_and_marks_of_deletion_are_no_photos_and_lines_that_say_nothing_are_faults() -> None:
    columns = SCHEMA.split(", ")
    for line in (b'"b","k","v","false","false","1","e"', b'"b","k","v","true","true","",""', b"", b"\r"):
        assert read_line(INVENTORY, line, "b", columns) is None
    for kind, line in (
        (INVENTORY, b'"b","k"'),
        (INVENTORY, b'"b","k","v","true","false","many","e"'),
        (INVENTORY, b'"b","%ff","v","true","false","1","e"'),
        (SOURCE_REF, b'{"source": "a sentence"}'),
        (SOURCE_REF, b'{"source-ref": "photos/a.jpg"}'),
        (SOURCE_REF, b"{"),
        (KEYS, b"s3://bucket"),
        (KEYS, b"\xff"),
    ):
        found = read_line(kind, line, "b", columns)
        assert found, line
        assert found.fault.startswith("this line of the list is not understood: ")
        assert BulkPhoto.from_dict(found.to_dict()) == found


def test_inventories_in_other_formats_are_refused_with_what_to_do() -> None:
    manifest = {"sourceBucket": "b", "destinationBucket": "arn:aws:s3:::kept", "fileFormat": "ORC", "fileSchema": "",
                "files": []}  # fmt: skip
    with pytest.raises(Permanent, match="the inventory is ORC: Shoal reads those in CSV"):
        read_inventory(json.dumps(manifest).encode())
    with pytest.raises(Permanent, match="no bucket or no key"):
        read_inventory(json.dumps(manifest | {"fileFormat": "CSV", "fileSchema": "Key"}).encode())
    with pytest.raises(Permanent, match="not the manifest of an S3 Inventory"):
        read_inventory(b"{}")


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cloud:
    found = memory_cloud(ManualClock())
    found.register.beat("one", Beat(1, model="resnet50"))
    monkeypatch.setattr(labelling, "connect_to_running", lambda _: found)
    monkeypatch.setenv("SHOAL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("SHOAL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    chosen = settings.load_with_env_file().in_bucket
    found.buckets[chosen]  # the input bucket by its name, as a real cloud has it
    found.buckets[chosen] = found.inputs  # type: ignore[index]
    return found


def test_an_inventory_is_listed_by_workers_over_all_its_files(cloud: Cloud) -> None:
    files = []
    for number in range(3):
        rows = [f'"photos","{quote_plus(f"{number}/a {n}")}","v","true","false","{n + 1}","e"' for n in range(70)]
        files.append({"key": f"data/{number}.csv.gz"})
        cloud.buckets["kept"].put(f"data/{number}.csv.gz", gzip.compress("\n".join(rows).encode()), "")
    told = {"sourceBucket": "photos", "destinationBucket": "arn:aws:s3:::kept", "fileFormat": "CSV",
            "fileSchema": SCHEMA, "files": files}  # fmt: skip
    cloud.buckets["kept"].put("day/manifest.json", json.dumps(told).encode(), "")
    asked = ("--into", "s3://labels/run", "--no-wait", "--yes")
    assert said("label", "s3://kept/day/manifest.json", *asked).startswith("210 photos, ")
    work(cloud)
    run = the_run(cloud)
    assert [row.entry.key for row in rows_of(cloud, run)] == [f"{n}/a {m}" for n in range(3) for m in range(70)]
    assert not run.listed_here
    addresses = [one.address for one in exported(BucketResults(cloud.buckets["labels"], "run/"), "")]
    assert addresses[0] == "s3://photos/0/a 0"
    assert again(run, new_batch(1.0)).list_kind == ""
    for refused in ("--not-if-done", "--sample"):
        more = [refused, "5"] if refused == "--sample" else [refused]
        with pytest.raises(Permanent, match="in the order of their keys"):
            said("label", "s3://kept/day/manifest.json", *asked, *more)


def test_standard_input_is_stored_in_parts_and_a_line_that_is_not_understood_is_one_failed_row(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_lists, "PART_BYTES", 50)
    lines = [f"s3://photos/in/{n:03d}.jpg" for n in range(50)] + ["bare key", "s3://", "s3://other/x"]
    body = "\n".join(lines).encode()
    told = said("label", "-", "--into", "s3://labels/run", "--no-wait", "--yes", input=body)
    assert told.startswith("53 photos, ")
    run = the_run(cloud)
    assert (run.source, run.bucket, run.list_kind) == ("-", "photos", KEYS)
    assert run.list_parts > 10
    work(cloud)
    rows = rows_of(cloud, run)
    assert [row.entry.key for row in rows] == [*(f"in/{n:03d}.jpg" for n in range(50)), "bare key", "s3://", "x"]
    assert [row.entry.bucket for row in rows[-3:]] == ["", "", "other"]
    assert "not understood" in rows[-2].entry.fault
    addresses = [one.address for one in exported(BucketResults(cloud.buckets["labels"], "run/"), "")]
    assert addresses[-3:] == ["s3://photos/bare key", "s3://photos/s3://", "s3://other/x"]

    keys = tmp_path / "keys.txt"
    keys.write_text("a.jpg\nb.jpg\n")
    with pytest.raises(Permanent, match="name their bucket by --bucket"):
        said("label", keys, "--into", "s3://labels/two", "--no-wait", "--yes")
    told = said("label", keys, "--bucket", "photos", "--into", "s3://labels/two", "--no-wait", "--yes")
    assert told.startswith("2 photos, ")
    with pytest.raises(Permanent, match="the source is none"):
        said("label", tmp_path, "--bucket", "photos", "--into", "s3://labels/two")
