"""The results of runs in the formats of other tools, read back."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import duckdb
import pandas
import pytest
from click.testing import CliRunner
from click.testing import Result as Answer

from runs.exports.results import BucketResults, ExportPhoto, FolderResults, exported
from runs.finishing import Place
from runs.manifest import BulkPhoto, lines
from runs.records import RunRecords
from runs.rows import BulkRow, Picture
from runs.run import FAILED_OF, Run
from shoal.errors import Permanent, ShoalError
from shoal.memory import ManualClock, memory_cloud
from shoal.messages import Detection, Label, Result, new_batch
from shoal_cli._runs.export import command

FIRST, SECOND = new_batch(1_700_000_000.0), new_batch(1_700_000_100.0)
CAT = (Label("tabby", "n02123045", 0.6, 281), Label("tiger_cat", "n02123159", 0.3, 282))
BOXES = (
    Detection("cat", 16, 0.9, (20, 10, 60, 50), (0.1, 0.1, 0.3, 0.5)),
    Detection("a < \"b\"", 17, 0.8, (0, 0, 200, 100), (0.0, 0.0, 1.0, 1.0)),
)  # fmt: skip


def row(key: str, **more: Any) -> BulkRow:
    result = Result(key, "done", model="net", model_version="12ab", engine="openvino")
    return BulkRow(BulkPhoto(key, '"etag"', 7), replace(result, **more))


LABELLED = row("in/a é.jpg", labels=CAT)
FOUND = row("in/b\n.jpg", detections=BOXES)
NONE = row("in/c.jpg")
FAILED = BulkRow(BulkPhoto("in/d.jpg"), Result.failed("in/d.jpg", "this is not an image"))


def sized(one: BulkRow) -> BulkRow:
    return replace(one, picture=Picture(201, 99, "0123456789abcdef", "2026-07-01T12:30:00", -33.5, 151.25))


def objects(run: str, parts: list[list[BulkRow]], source: str = "s3://photos/in/") -> dict[str, bytes]:
    """The files of a run, as `runs.finishing.merge` writes them."""
    files = {
        f"labels-{run}-{number:05d}.jsonl": lines([one.to_dict() for one in part]) for number, part in enumerate(parts)
    }
    return files | {f"summary-{run}.json": json.dumps({"run": run, "source": source}).encode(), "other.txt": b"x"}


def stored(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, body in files.items():
        (folder / name).write_bytes(body)
    return folder


def export(folder: Path, form: str, out: Path, *more: str) -> Answer:
    return CliRunner().invoke(command, [str(folder), "--to", form, "--out", str(out), *more])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return stored(tmp_path / "labels", objects(FIRST, [[LABELLED, FOUND], [NONE, FAILED]]))


def test_label_studio_gets_choices_and_boxes_in_per_cent_and_an_interface_with_all_classes(
    folder: Path, tmp_path: Path
) -> None:
    told = export(folder, "label-studio", tmp_path / "new" / "tasks.json").output
    interface = tmp_path / "new" / "tasks-interface.xml"
    cat, boxes, none = json.loads((tmp_path / "new" / "tasks.json").read_text())

    assert told == f"3 photos in {tmp_path}/new/tasks.json; the labelling interface is {interface}" + (
        "; 1 failed photo left out\n"
    )
    assert cat["data"] == {"image": "s3://photos/in/a é.jpg", "key": "in/a é.jpg"}
    (prediction,) = cat["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("net 12ab", 0.6)
    assert prediction["result"][0]["value"] == {"choices": ["tabby"]}
    first = boxes["predictions"][0]["result"][0]
    assert (first["original_width"], first["original_height"], first["type"]) == (200, 100, "rectanglelabels")
    place = [first["value"][name] for name in ("x", "y", "width", "height")]
    assert place == pytest.approx([10, 10, 20, 40])
    assert first["value"]["rectanglelabels"] == ["cat"]
    assert none["predictions"] == []

    tree = ElementTree.parse(interface)
    names = {one.get("name") for one in tree.iter() if one.get("toName") == "image"}
    used = {region["from_name"] for task in (cat, boxes) for region in task["predictions"][0]["result"]}
    assert names == used
    assert [one.get("value") for one in tree.iter("Choice")] == ["tabby", "tiger_cat"]
    assert [one.get("value") for one in tree.iter("Label")] == ['a < "b"', "cat"]


def test_coco_has_a_box_for_each_object_and_a_number_of_its_own_for_each_class(folder: Path, tmp_path: Path) -> None:
    other = Detection("face", 16, 0.7, (0, 0, 4, 4), (0.0, 0.0, 0.5, 0.5))  # another model's class of the same number
    stored(folder, objects(SECOND, [[row("in/e.jpg", detections=(other,)), sized(row("in/f.jpg", detections=BOXES))]]))
    assert export(folder, "coco", tmp_path / "coco.json").exit_code == 0
    told = json.loads((tmp_path / "coco.json").read_text())
    names = {one["id"]: one["name"] for one in told["categories"]}
    files = {one["id"]: one["file_name"] for one in told["images"]}

    assert [(files[one["image_id"]], names[one["category_id"]], one["bbox"]) for one in told["annotations"]] == [
        ("in/b\n.jpg", "cat", [20, 10, 40, 40]), ("in/b\n.jpg", 'a < "b"', [0, 0, 200, 100]),
        ("in/e.jpg", "face", [0, 0, 4, 4]),
        ("in/f.jpg", "cat", [20, 10, 40, 40]), ("in/f.jpg", 'a < "b"', [0, 0, 200, 100]),
    ]  # fmt: skip
    assert list(files.values()) == ["in/a é.jpg", "in/b\n.jpg", "in/c.jpg", "in/e.jpg", "in/f.jpg"]
    # of results of older workers, reckoned from the boxes
    assert [(one["width"], one["height"]) for one in told["images"]] == [(0, 0), (200, 100), (0, 0), (8, 8), (201, 99)]
    assert {16: "cat", 17: 'a < "b"'}.items() <= names.items()
    assert len({one["id"] for one in told["annotations"]}) == 5


def test_fiftyone_finds_each_photo_by_a_number_that_both_files_have(folder: Path, tmp_path: Path) -> None:
    for parts, kind in (([[LABELLED, NONE]], "Classification"), ([[FOUND, NONE], [FAILED]], "Detection")):
        stored(folder, objects(FIRST, parts) | {f"labels-{FIRST}-00001.jsonl": lines([FAILED.to_dict()])})
        told = export(folder, "fiftyone", tmp_path / kind, "--photos", "/pictures")
        assert f"FiftyOneImage{kind}Dataset; 1 failed photo left out" in told.output
        paths = json.loads((tmp_path / kind / "data.json").read_text())
        labels = json.loads((tmp_path / kind / "labels.json").read_text())["labels"]
        by_path = {paths[number]: target for number, target in labels.items()}
        if kind == "Classification":
            assert by_path == {
                "/pictures/in/a é.jpg": {"label": "tabby", "confidence": 0.6}, "/pictures/in/c.jpg": None,
            }  # fmt: skip
        else:
            assert by_path["/pictures/in/b\n.jpg"][0]["bounding_box"] == pytest.approx([0.1, 0.1, 0.2, 0.4])
            assert by_path["/pictures/in/c.jpg"] is None
    assert export(folder, "fiftyone", folder / "other.txt").exit_code == 2
    assert export(folder, "csv", folder).exit_code == 2


def test_a_manifest_has_source_refs_of_a_bucket_and_labels_as_ground_truth_writes_them(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.manifest"
    assert export(folder, "source-ref", out).output == f"3 photos in {out}; 1 failed photo left out\n"
    cat, boxes, none = map(json.loads, out.read_bytes().splitlines())

    assert (cat["source-ref"], cat["shoal"]) == ("s3://photos/in/a é.jpg", 281)
    assert cat["shoal-metadata"] == {
        "class-name": "tabby", "confidence": 0.6, "type": "groundtruth/image-classification",
        "job-name": f"shoal/{FIRST}", "human-annotated": "no", "creation-date": "2023-11-14T22:13:20.000000",
    }  # fmt: skip
    assert boxes["shoal"]["image_size"] == [{"width": 200, "height": 100, "depth": 3}]
    assert boxes["shoal"]["annotations"][0] == {"class_id": 16, "left": 20, "top": 10, "width": 40, "height": 40}
    assert boxes["shoal-metadata"]["class-map"] == {"16": "cat", "17": 'a < "b"'}
    assert none == {"source-ref": "s3://photos/in/c.jpg"}

    refused = export(folder, "source-ref", out, "--photos", "/pictures")
    assert isinstance(refused.exception, Permanent)
    assert len(out.read_bytes().splitlines()) == 3  # what was there before stands
    assert not list(tmp_path.glob("*.part"))


def test_a_table_has_failed_photos_and_a_row_for_each_object(folder: Path, tmp_path: Path) -> None:
    told = export(folder, "csv", tmp_path / "a.csv").output
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    assert told == f"4 photos in {tmp_path}/a.csv; 1 failed photo among them\n"
    assert [(one["key"], one["label"], one["left"]) for one in rows] == [
        ("in/a é.jpg", "tabby", ""), ("in/b\n.jpg", "cat", "20"), ("in/b\n.jpg", 'a < "b"', "0"),
        ("in/c.jpg", "", ""), ("in/d.jpg", "", ""),
    ]  # fmt: skip
    assert rows[0]["labels"] == "tabby 0.6; tiger_cat 0.3"
    assert (rows[0]["address"], rows[0]["size"], rows[0]["etag"]) == ("s3://photos/in/a é.jpg", "7", '"etag"')
    assert (rows[4]["state"], rows[4]["error"]) == ("failed", "this is not an image")


def test_pandas_and_duckdb_read_parquet_with_typed_columns_lists_of_structs_and_failed_photos(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(folder, objects(SECOND, [[sized(row("in/f.jpg", labels=CAT, warnings=("blurred",)))]]))
    monkeypatch.setattr("runs.exports.parquet.BATCH_ROWS", 2)
    monkeypatch.setattr("runs.exports.parquet.GROUP_BATCHES", 2)
    out = tmp_path / "a.parquet"
    told = export(folder, "parquet", out)
    assert told.output == f"5 photos in {out}; 1 failed photo among them\n"

    frame = pandas.read_parquet(out)
    assert list(frame["key"]) == ["in/a é.jpg", "in/b\n.jpg", "in/c.jpg", "in/d.jpg", "in/f.jpg"]
    types = {name: str(frame.dtypes[name]) for name in ("size", "probability")}
    assert types == {"size": "int64", "probability": "float64"}
    first, boxes = frame.iloc[0], frame.iloc[1]["detections"]
    assert (first["label"], first["wordnet_id"], first["probability"], first["address"]) == (
        "tabby", "n02123045", 0.6, "s3://photos/in/a é.jpg",
    )  # fmt: skip
    assert [(one["name"], one["probability"], one["class_id"]) for one in first["labels"]] == [
        ("tabby", 0.6, 281), ("tiger_cat", 0.3, 282),
    ]  # fmt: skip
    assert [(one["name"], one["score"], one["right"]) for one in boxes] == [("cat", 0.9, 60), ('a < "b"', 0.8, 200)]
    assert frame["run"].tolist() == [FIRST] * 4 + [SECOND]

    taken = duckdb.execute("select hash, year(taken), latitude, longitude from read_parquet(?) offset 4", [str(out)])
    assert taken.fetchall() == [("0123456789abcdef", 2026, -33.5, 151.25)]
    asked = """select key, width, height, status, error, warnings[1], detections[1].left, label from read_parquet(?)
        where label is null or len(detections) > 0 or width > 0 order by key"""
    assert duckdb.execute(asked, [str(out)]).fetchall() == [
        ("in/b\n.jpg", None, None, "done", None, None, 20, "cat"),
        ("in/c.jpg", None, None, "done", None, None, None, None),
        ("in/d.jpg", None, None, "failed", "this is not an image", None, None, None),
        ("in/f.jpg", 201, 99, "done", None, "blurred", None, "tabby"),
    ]
    groups = duckdb.execute("select count(distinct row_group_id) from parquet_metadata(?)", [str(out)])
    assert groups.fetchall() == [(2,)]  # written as they come

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "the package pyarrow, which is not installed" in str(export(folder, "parquet", out).exception)


def test_of_several_runs_the_last_word_on_a_photo_counts_in_a_bucket_and_in_a_folder(tmp_path: Path) -> None:
    better = row("in/d.jpg", labels=CAT)
    files = objects(FIRST, [[LABELLED, FOUND], [NONE, FAILED]])
    files |= objects(SECOND, [[better]], f"{FAILED_OF}{FIRST}")
    bucket = memory_cloud(ManualClock()).buckets["labels"]
    for name, body in files.items():
        bucket.put(f"run/{name}", body, "")
    places = (FolderResults(stored(tmp_path / "labels", files)), BucketResults(bucket, "run/"))
    for place in places:
        assert list(exported(place)) == [
            *(ExportPhoto(one, FIRST, f"s3://photos/{one.entry.key}") for one in (LABELLED, FOUND, NONE)),
            ExportPhoto(better, SECOND, "s3://photos/in/d.jpg"),
        ]
        assert [one.row for one in exported(place, FIRST)] == [LABELLED, FOUND, NONE, FAILED]
        with pytest.raises(Permanent, match="which is not here: --photos"):
            exported(place, SECOND)
        assert [one.address for one in exported(place, SECOND, "/p/")] == ["/p/in/d.jpg"]
    (tmp_path / "labels" / f"summary-{SECOND}.json").unlink()
    with pytest.raises(Permanent, match="is not finished"):
        exported(places[0])
    with pytest.raises(Permanent, match="no results"):
        exported(BucketResults(bucket, "elsewhere/"))


def test_a_run_and_a_bucket_are_read_where_the_workers_left_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = memory_cloud(ManualClock())
    monkeypatch.setattr("shoal_cli._runs.export._cloud", lambda: cloud)
    records, out = RunRecords(cloud.outputs), tmp_path / "a.manifest"
    first = Run(FIRST, "s3://photos/in/", "photos", "in/", str(tmp_path))
    again = replace(first, id=SECOND, source=f"{FAILED_OF}{FIRST}", target="s3://labels/run", listed_here=True)
    for run, rows in ((first, [LABELLED, FAILED]), (again, [row("in/d.jpg", labels=CAT)])):
        records.add(run)
        place = Place(run, cloud.outputs, cloud.buckets)
        for name, body in objects(run.id, [rows], run.source).items():
            place.put(name, body, "")

    unfinished = CliRunner().invoke(command, [SECOND, "--to", "source-ref", "--out", str(out)])
    assert "is not finished" in str(unfinished.exception)
    records.set_summary(FIRST, {"run": FIRST})
    records.set_summary(SECOND, {"run": SECOND})
    for results, photo in ((FIRST, "a é"), (SECOND, "d")):
        told = CliRunner().invoke(command, [results, "--to", "source-ref", "--out", str(out)])
        assert told.exit_code == 0, told
        assert json.loads(out.read_text())["source-ref"] == f"s3://photos/in/{photo}.jpg"
    told = CliRunner().invoke(
        command, ["s3://labels/run/", "--to", "source-ref", "--out", str(out), "--photos", "s3://x"]
    )
    assert json.loads(out.read_text())["source-ref"] == "s3://x/in/d.jpg"
    for wrong in ("s3://nothing/run", "nothing"):
        told = CliRunner().invoke(command, [wrong, "--to", "csv", "--out", str(out)])
        assert isinstance(told.exception, ShoalError), told
