"""The EC2 launch template of a Shoal's instances, kept equal to the settings."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

from shoal.aws.clients import error_code, our_errors
from shoal.errors import NotFound, Permanent

IMAGE_TAG = "shoal:image"  # of an AMI: the name that it is found by

IMAGE_SECONDS = 5.0  # after `shoal upgrade` has chosen another image, all launches are from it when this is over
SINCE_TAG = "shoal:since"  # of an AMI that was chosen again: when, as EC2 writes times

STACK_DESCRIPTION = "of the stack"  # as in ami/stack.yaml
ON_TOP_OF = " on top of "


class LaunchTemplate:
    """A template by its name. Each change of settings makes a new version; the old ones stay.

    ec2:       makes the client, at the first use: reading EC2's large model costs a worker, which needs none, 0.2 s.
    boot_file: returns the user data.
    options:   further data of the template (security groups, key, instance profile).
    steady:    a monotonic clock, in seconds.
    """

    def __init__(
        self,
        ec2: Callable[[], Any],
        name: str,
        image: str,
        boot_file: Callable[[], str],
        options: dict[str, Any] | None = None,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make_client = ec2
        self.name = name
        self._image = image
        self._boot_file = boot_file
        self._options = options or {}
        self._steady = steady
        self._version = ""
        self._held = ("", "")  # the boot file and the image of that version
        self._looked_up: tuple[float, str] | None = None

    @property
    def _ec2(self) -> Any:
        return self._make_client()

    def version(self) -> str:
        """The version that holds our data, made where it is missing. Raises NotFound when there is no such image.

        A reload of the settings changes the boot file, and so the version. So does another image that counts now.
        """
        boot_file, image = self._boot_file(), self._current_image()
        if not self._version or (boot_file, image) != self._held:
            self._version, self._held = self._find_or_make(boot_file, image), (boot_file, image)
        return self._version

    def _current_image(self) -> str:
        """The image, looked up again after IMAGE_SECONDS."""
        now = self._steady()
        if not self._looked_up or now - self._looked_up[0] >= IMAGE_SECONDS:
            self._looked_up = now, self.image_id()
        return self._looked_up[1]

    def forget(self) -> None:
        """Look again at the next use: the template or the image is gone."""
        self._version = ""
        self._looked_up = None

    def _find_or_make(self, boot_file: str, image: str) -> str:
        data = {
            "ImageId": image,
            "UserData": base64.b64encode(boot_file.encode()).decode(),
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {
                "HttpTokens": "required",
                "HttpPutResponseHopLimit": 1,  # nothing behind another network address on the instance gets a token
                "InstanceMetadataTags": "enabled",
            },
            **self._options,
        }
        # EC2 gives the data back in words of its own, so versions are known by the digest in their description.
        digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:32]
        made = {"LaunchTemplateName": self.name, "VersionDescription": digest, "LaunchTemplateData": data}
        try:
            with our_errors(f"launch template {self.name}"):
                pages = self._ec2.get_paginator("describe_launch_template_versions").paginate(
                    LaunchTemplateName=self.name
                )
                versions = [one for page in pages for one in page["LaunchTemplateVersions"]]
            base = _of_the_stack(versions)
            made["VersionDescription"] = digest + base
            known = [str(one["VersionNumber"]) for one in versions if one.get("VersionDescription") == digest + base]
            if known:
                return known[-1]
            source = {"SourceVersion": base.removeprefix(ON_TOP_OF)} if base else {}
            with our_errors(f"new version of launch template {self.name}"):
                answer = self._ec2.create_launch_template_version(**made, **source)
            return str(answer["LaunchTemplateVersion"]["VersionNumber"])
        except NotFound:
            return self._make(made, boot_file, image)

    def _make(self, made: dict[str, Any], boot_file: str, image: str) -> str:
        try:
            with our_errors(f"create launch template {self.name}"):
                answer = self._ec2.create_launch_template(**made)
        except Permanent as error:
            if error_code(error) != "InvalidLaunchTemplateName.AlreadyExistsException":
                raise
            return self._find_or_make(boot_file, image)  # another controller made it first
        return str(answer["LaunchTemplate"]["LatestVersionNumber"])

    def image_id(self) -> str:
        """The AMI that instances start from, looked up by name when it is not an id. Raises NotFound."""
        return self._image if self._image.startswith("ami-") else str(find_image(self._ec2, self._image)["ImageId"])


def _of_the_stack(versions: list[dict[str, Any]]) -> str:
    """The end of a description that names the newest version of ami/stack.yaml; empty when there is none.

    Our versions stand on top of it: disks and their encryption are the stack's business.
    """
    numbers = [one["VersionNumber"] for one in versions if one.get("VersionDescription") == STACK_DESCRIPTION]
    return f"{ON_TOP_OF}{max(numbers)}" if numbers else ""


def since(image: dict[str, Any]) -> str:
    """When an AMI, as EC2 describes it, was made or chosen again."""
    tags = {one["Key"]: str(one["Value"]) for one in image.get("Tags") or ()}
    return max(str(image.get("CreationDate", "")), tags.get(SINCE_TAG, ""))


def find_image(ec2: Any, image: str) -> dict[str, Any]:
    """An AMI by its id, or the newest of this account that has this name or the tag. Raises NotFound.

    Names are unique, so a new image of a name that is taken has another one, and the tag. An older image that was
    chosen again (`shoal upgrade --back`) is as new as that choice.
    """
    by_name, by_tag = {"Name": "name", "Values": [image]}, {"Name": f"tag:{IMAGE_TAG}", "Values": [image]}
    chosen = [{"Owners": ["self"], "Filters": [one]} for one in (by_name, by_tag)]
    if image.startswith("ami-"):
        chosen = [{"ImageIds": [image]}]
    with our_errors(f"image {image}"):
        found = [one for words in chosen for one in ec2.describe_images(**words)["Images"]]
    ready = [one for one in found if one.get("State", "available") == "available"]
    newest = max(ready, key=since, default=None)
    if newest is None:
        raise NotFound(f"there is no machine image {image!r}: make one (`shoal bake`) or set SHOAL_AMI")
    return dict(newest)
