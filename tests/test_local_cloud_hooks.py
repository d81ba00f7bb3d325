"""The places in moto that are hooked are still where they were."""

import re
from types import SimpleNamespace
from typing import ClassVar

import pytest
from moto.core.serialize import AttributePickerContext, XFormedAttributePicker
from moto.core.utils import get_service_model
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance

from local_cloud.ec2 import answers, hooks, points, record


def test_every_hook_point_is_there_with_the_parameters_it_had() -> None:
    points.check(hooks.HOOK_POINTS)


def test_a_hook_point_that_has_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Instance, "reboot")
    with pytest.raises(points.HookPointMoved, match=re.escape("no Instance.reboot any more")):
        points.check(hooks.HOOK_POINTS)


def test_a_hook_point_with_other_parameters_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Instance, "stop", lambda self, force: None)
    with pytest.raises(points.HookPointMoved, match=re.escape("Instance.stop takes ('self', 'force')")):
        points.check(hooks.HOOK_POINTS)


def test_what_is_read_from_the_books_of_an_instance_is_there() -> None:
    source = Instance.__init__.__code__.co_names
    for name in ("instance_type", "image_id", "user_data", "_state", "_reason", "state_reason", "launch_time"):
        assert name in source
    assert {"t3.nano", "t3.micro"} <= set(INSTANCE_TYPES)


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
