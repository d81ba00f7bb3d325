"""What is used of the inside of moto and ministack is still where it was, and stands in one list."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from moto.core.serialize import AttributePickerContext, XFormedAttributePicker
from moto.core.utils import get_service_model
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance
from moto.sts.models import STSBackend

from local_cloud import points
from local_cloud.ec2 import answers, record
from tests.local_cloud_fixtures import ROOT, start_process

ALL = (*points.TABLES, *points.MOTO, *points.MINISTACK)
SOURCES = sorted((ROOT / "local_cloud").rglob("*.py"))
LISTED = {point.name for point in ALL}
# Names of the standard library that begin with an underscore and are documented.
DOCUMENTED = {"_exit"}


@pytest.mark.parametrize("point", ALL, ids=str)
def test_every_point_is_there_with_the_parameters_it_had(point: points.LibraryPoint) -> None:
    points.check([point])


def nodes() -> Iterator[tuple[Path, ast.AST]]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            yield path, node


def test_everything_imported_from_the_two_libraries_is_listed() -> None:
    listed = {(point.owner.partition(":")[0], point.name) for point in ALL} | {
        tuple(point.owner.split(":")) for point in ALL
    }
    imported = {
        (node.module, alias.name)
        for _, node in nodes()
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] in ("moto", "ministack")
        for alias in node.names
    }
    modules = {point.owner.partition(":")[0] for point in ALL}
    assert imported
    assert {one for one in imported - listed if f"{one[0]}.{one[1]}" not in modules} == set()


def test_every_private_name_of_others_is_listed() -> None:
    own = {node.name for _, node in nodes() if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    used = {
        node.attr
        for _, node in nodes()
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
        if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    }
    assert {"_state", "_get_param", "_build_persistence_save_dict"} <= used
    assert used - own - LISTED - DOCUMENTED == set()


def test_everything_replaced_is_listed() -> None:
    listed = {(point.owner.rpartition(":")[2], point.name) for point in ALL if point.parameters is not None}
    replaced = {
        (ast.unparse(node.args[0]), ast.literal_eval(node.args[1]))
        for _, node in nodes()
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "points.replace"
    }
    assert len(replaced) > 10
    assert replaced <= listed


def test_a_point_that_has_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Instance, "reboot")
    with pytest.raises(points.PointMoved, match=re.escape("has no moto.ec2.models.instances.Instance.reboot any more")):
        points.check(points.MOTO)


def test_a_point_with_other_parameters_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Instance, "stop", lambda self, force: None)
    with pytest.raises(points.PointMoved, match=re.escape("Instance.stop takes ('self', 'force')")):
        points.check(points.MOTO)


def test_an_attribute_that_no_method_mentions_any_more_is_named() -> None:
    name = "moto.ec2.models.instances:Instance"
    points.check([points.LibraryPoint(name, "ami_launch_index")])
    with pytest.raises(points.PointMoved, match=re.escape("has no moto.ec2.models.instances.Instance.launch_index")):
        points.check([points.LibraryPoint(name, "launch_index")])


def test_a_module_and_a_class_that_have_gone_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("moto.sts.models.STSBackend")
    with pytest.raises(points.PointMoved, match=re.escape("has no moto.sts.models.STSBackend.assume_role any more")):
        points.check(points.MOTO)
    monkeypatch.setattr("moto.sts.models.STSBackend", STSBackend, raising=False)
    with pytest.raises(points.PointMoved, match=re.escape("No module named 'moto.nothing'")):
        points.check([points.LibraryPoint("moto.nothing", "anything")])


MOVED = """
import sys
from local_cloud import points
points.{group} = (*points.{group}, points.LibraryPoint("{owner}", "moved_away"))
"""


@pytest.mark.parametrize(("group", "owner"), [("MOTO", "moto.ec2.models"), ("MINISTACK", "ministack.app")])
def test_a_cloud_ends_at_its_start_and_says_what_has_moved(tmp_path: Path, group: str, owner: str) -> None:
    # Every Python program of the cloud imports this file first: so it meets a library that lacks one more name.
    (tmp_path / "sitecustomize.py").write_text(MOVED.format(group=group, owner=owner))
    with start_process(tmp_path / "state", environment={"PYTHONPATH": f"{tmp_path}:{ROOT}"}) as cloud:
        _, errors = cloud.communicate(timeout=60)
    library = owner.partition(".")[0]
    assert cloud.returncode == 1
    assert re.search(rf"local cloud: .*{library} [\d.]+ has no {owner}.moved_away any more", errors)
    assert "Traceback" not in errors


def test_the_instance_types_that_the_tests_use_are_there() -> None:
    assert {"t3.nano", "t3.micro"} <= set(INSTANCE_TYPES)


def test_no_file_takes_the_name_of_a_module_of_the_standard_library() -> None:
    allowed = {"__init__", "__main__"}
    assert {path.name for path in SOURCES if path.stem in sys.stdlib_module_names - allowed} == set()


class Plain:
    pass


class Aliased:
    class Meta:
        serialization_aliases: ClassVar = {"Reservations": "kept"}


def test_the_names_of_an_answer_s_member_are_moto_s_own_and_made_once() -> None:
    made = []

    def own(picker: XFormedAttributePicker, context: AttributePickerContext) -> list[str]:
        made.append(context)
        return list(XFormedAttributePicker.get_possible_keys(picker, context))

    shape = get_service_model("ec2").operation_model("DescribeInstances").output_shape.members["Reservations"]
    picker, remembered = XFormedAttributePicker(), answers._remembered(own)
    contexts = [
        AttributePickerContext(thing, key, shape) for thing in (Plain(), Aliased()) for key in ("Reservations", "x")
    ]
    for context in contexts * 2:
        expected = list(dict.fromkeys(XFormedAttributePicker.get_possible_keys(picker, context)))
        assert list(remembered(picker, context)) == expected
        assert ("kept" in expected) == (context is contexts[2])
    assert made == contexts


def test_role_credentials_stay_until_an_hour_before_they_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    role = SimpleNamespace(name="worker", arn="arn:aws:iam::123456789012:role/worker")
    association = SimpleNamespace(iam_instance_profile=SimpleNamespace(roles=[role]))
    backend = SimpleNamespace(region_name="us-east-1", iam_instance_profile_associations={"i-1": association})
    instance = SimpleNamespace(id="i-1", ec2_backend=backend)
    kept = record.Ec2Record(instance, record.LaunchDetails(), changed=lambda: None)

    assert kept.role_credentials() == kept.role_credentials()
    monkeypatch.setattr(record, "RENEWED_BEFORE_SECONDS", record.CREDENTIALS_SECONDS)
    assert kept.role_credentials() != kept.role_credentials()
