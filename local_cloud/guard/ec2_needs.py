"""What a call to EC2 and the other services of moto needs permissions for."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from local_cloud import ACCOUNT
from local_cloud.guard.permissions import NeededPermission
from local_cloud.guard.signatures import SignedRequest, actions, form_parameters, signed_service

# Services whose name in policies is not the one in signatures.
_NAMES = {"monitoring": "cloudwatch"}
_TAG = re.compile(r"TagSpecification\.(\d+)\.Tag\.(\d+)\.Key")
_GROUP_NAMES = re.compile(r"AutoScalingGroupName|Tags\.member\.\d+\.ResourceId")
# Of these EC2 calls a policy may name launch templates.
_OF_TEMPLATES = ("CreateLaunchTemplate", "CreateLaunchTemplateVersion", "DeleteLaunchTemplate", "ModifyLaunchTemplate")
# What a launch uses besides its image, for which a policy may name resources.
_USED = ("network-interface", "security-group", "subnet")
# What is named by its id, and the fields that do.
_KINDS = {"i": "instance", "ami": "image", "snap": "snapshot", "vol": "volume", "lt": "launch-template"}
_IDS = ("InstanceId", "ResourceId", "ImageId", "SnapshotId")
# Those of no account, for others' may be used.
_OF_NO_ACCOUNT = ("image", "snapshot")


class KnownThings(Protocol):
    """What is known of the things that a call names."""

    def tags(self, identifier: str) -> Mapping[str, str]:
        """The tags of an instance, an image and so on; empty for an unknown one."""

    def template(self, name: str, version: str) -> Mapping[str, Any]:
        """The data of a launch template; empty for an unknown one. `version` may be empty."""

    def group(self, instance: str) -> str:
        """The Auto Scaling group of an instance; empty without one."""


Fields = Mapping[str, list[str]]


class Ec2Needs:
    """A function with a region.

    Launches, launch templates, instances, images, groups, parameters and metrics are looked at as AWS does. All other
    calls ask for `*`: a policy that names other resources does not allow them here, although it would on AWS.
    """

    def __init__(self, region: str, things: KnownThings) -> None:
        self._region = region
        self._things = things

    def __call__(self, request: SignedRequest) -> Iterator[NeededPermission]:
        service = signed_service(request)
        names = actions(request)
        action = f"{_NAMES.get(service, service)}:{names[0]}" if service and len(names) == 1 else ""
        fields = {**form_parameters(request), **request.parameters}
        if action == "ec2:RunInstances":
            yield from self._launch(fields)
        elif service == "ec2":
            yield from self._ec2(action, fields)
        elif service == "autoscaling":
            yield from self._group(action, fields)
        elif service == "ssm":
            name = _member(request, "Name")
            parameter = f"arn:aws:ssm:{self._region}:{ACCOUNT}:parameter/{name.removeprefix('/')}"
            yield NeededPermission(action, parameter if name else "*")
        elif service == "monitoring":
            yield NeededPermission(action, "*", {"cloudwatch:namespace": _namespace(request)})
        else:
            yield NeededPermission(action)

    def _arn(self, kind: str, name: str = "*") -> str:
        account = "" if kind in _OF_NO_ACCOUNT else ACCOUNT
        return f"arn:aws:ec2:{self._region}:{account}:{kind}/{name}"

    def _launch(self, fields: Fields) -> Iterator[NeededPermission]:
        named = "LaunchTemplate.LaunchTemplate"
        template = self._things.template(_one(fields, f"{named}Name"), _one(fields, "LaunchTemplate.Version"))
        action = "ec2:RunInstances"
        for kind in ("instance", "volume"):
            yield from self._tagged(action, kind, {**_template_tags(template, kind), **_tags(fields, kind)})
        yield NeededPermission(action, self._arn("image", _one(fields, "ImageId") or template.get("ImageId", "*")))
        for kind in _USED:
            yield NeededPermission(action, self._arn(kind))
        if _one(fields, f"{named}Name") or _one(fields, f"{named}Id"):
            yield NeededPermission(action, self._arn("launch-template"))
        if _one(fields, "KeyName") or "KeyName" in template:
            yield NeededPermission(action, self._arn("key-pair"))
        profile = _one(fields, "IamInstanceProfile.Name") or template.get("IamInstanceProfile", {}).get("Name", "")
        if profile:
            # The profiles of this cloud's users have the name of their role.
            yield NeededPermission("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/{profile}")

    def _tagged(self, action: str, kind: str, tags: Mapping[str, str]) -> Iterator[NeededPermission]:
        """To make something that has tags from its beginning."""
        asked = {f"aws:requesttag/{key.lower()}": value for key, value in tags.items()}
        yield NeededPermission(action, self._arn(kind), asked)
        if tags:
            made_by = {"ec2:createaction": action.partition(":")[2], "aws:tagkeys": list(tags)}
            yield NeededPermission("ec2:CreateTags", self._arn(kind), {**asked, **made_by})

    def _ec2(self, action: str, fields: Fields) -> Iterator[NeededPermission]:
        if action == "ec2:CreateImage":
            for kind in _OF_NO_ACCOUNT:
                yield from self._tagged(action, kind, _tags(fields, kind))
        identifiers = [value for field, values in fields.items() if field.startswith(_IDS) for value in values]
        asked = {"aws:tagkeys": _tag_keys(fields)} if action == "ec2:CreateTags" else {}
        for one in identifiers:
            kind = _KINDS.get(one.partition("-")[0], "instance")
            tags = {f"aws:resourcetag/{key.lower()}": value for key, value in self._things.tags(one).items()}
            yield NeededPermission(action, self._arn(kind, one), {**tags, **asked})
        if not identifiers:
            template = action.partition(":")[2] in _OF_TEMPLATES
            yield NeededPermission(action, self._arn("launch-template") if template else "*")

    def _group(self, action: str, fields: Fields) -> Iterator[NeededPermission]:
        names = {value for field, values in fields.items() if _GROUP_NAMES.fullmatch(field) for value in values}
        if not names and (instance := _one(fields, "InstanceId")):
            names = {self._things.group(instance)}
        for name in sorted(names):
            arn = f"arn:aws:autoscaling:{self._region}:{ACCOUNT}:autoScalingGroup:*:autoScalingGroupName/{name}"
            yield NeededPermission(action, "*" if ":Describe" in action else arn)
        if not names:
            yield NeededPermission(action)
        prefix = "MixedInstancesPolicy.LaunchTemplate.LaunchTemplateSpecification."
        if _one(fields, f"{prefix}LaunchTemplateName"):
            # Auto Scaling lets EC2 say whether its caller may launch this.
            plain = {field.replace(prefix, "LaunchTemplate."): values for field, values in fields.items()}
            yield from self._launch({field: values for field, values in plain.items() if "Template." in field})


def _one(fields: Fields, name: str) -> str:
    return next(iter(fields.get(name, ())), "")


def _tag_keys(fields: Fields) -> list[str]:
    """The keys of the tags that CreateTags sets."""
    return [_one(fields, field) for field in fields if field.startswith("Tag.") and field.endswith(".Key")]


def _tags(fields: Fields, kind: str) -> dict[str, str]:
    """The tags of one kind of thing that a call makes."""
    found = {}
    for field in fields:
        parts = _TAG.fullmatch(field)
        if parts and _one(fields, f"TagSpecification.{parts[1]}.ResourceType") == kind:
            found[_one(fields, field)] = _one(fields, field.removesuffix("Key") + "Value")
    return found


def _template_tags(template: Mapping[str, Any], kind: str) -> dict[str, str]:
    return {
        tag["Key"]: tag["Value"]
        for one in template.get("TagSpecifications", ())
        if one.get("ResourceType") == kind
        for tag in one.get("Tags", ())
    }


def _namespace(request: SignedRequest) -> str:
    """The namespace of metrics, empty where the call does not tell it in a way that is understood."""
    return _member(request, "Namespace") or _one(form_parameters(request), "Namespace")


def _member(request: SignedRequest, name: str) -> str:
    """A member of a body in JSON; empty where there is none."""
    try:
        return str(json.loads(request.body)[name])
    except (ValueError, LookupError, TypeError):
        return ""
