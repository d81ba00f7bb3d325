"""Machine images in moto's books: made from instances, copied, deregistered, restored after a restart."""

import json
import shutil
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.amis import Ami, AmiBackend

from local_cloud import points
from local_cloud.ec2.record import books_lock
from local_cloud.machines.images import ImageError
from local_cloud.machines.instance_host import InstanceHost


def connect(host: InstanceHost, save: Callable[[], None]) -> None:
    """Replace moto's functions. `save` writes the books down."""
    points.replace(AmiBackend, "create_image", lambda original: _create(host, save, original))
    points.replace(AmiBackend, "copy_image", lambda original: _copy(host, save, original))
    points.replace(AmiBackend, "register_image", _register)
    points.replace(AmiBackend, "deregister_image", lambda original: _deregister(host, original))


def _create(host: InstanceHost, save: Callable[[], None], original: points.Function) -> points.Function:
    def create_image(
        backend: Any, instance_id: str, name: str, description: str, tag_specifications: list[dict[str, Any]]
    ) -> Any:
        _check_name(backend, name)
        # moto does not know tags of the snapshots that are made as well.
        of_snapshots = [one for one in tag_specifications if one["ResourceType"] == "snapshot"]
        others = [one for one in tag_specifications if one not in of_snapshots]
        image = original(backend, instance_id, name, description, tag_specifications=others)
        image.ebs_snapshot.add_tags({tag["Key"]: tag["Value"] for one in of_snapshots for tag in one["Tags"]})
        _begin(image, lambda: host.capture(instance_id, image.id), save)
        return image

    return create_image


def _copy(host: InstanceHost, save: Callable[[], None], original: points.Function) -> points.Function:
    def copy_image(backend: Any, source_image_id: str, *args: Any, **kwargs: Any) -> Any:
        source = host.images.folder(source_image_id)
        image = original(backend, source_image_id, *args, **kwargs)
        if source is None:
            raise EC2ClientError("InvalidAMIID.Unavailable", f"The image '[{source_image_id}]' is not available yet")
        _begin(image, lambda: host.images.capture(image.id, source), save)
        return image

    return copy_image


def _register(_original: points.Function) -> points.Function:
    def register_image(*_: Any, **__: Any) -> Any:
        # It would be made of snapshots, and volumes have no content here.
        raise EC2ClientError(
            "UnsupportedOperation",
            "There are no snapshots here to register an image from: use CreateImage, CopyImage or --image",
        )

    return register_image


def _deregister(host: InstanceHost, original: points.Function) -> points.Function:
    def deregister_image(backend: Any, ami_id: str) -> Any:
        result = original(backend, ami_id)
        host.images.remove(ami_id)
        return result

    return deregister_image


def _check_name(backend: Any, name: str) -> None:
    taken = next((image.id for image in backend.amis.values() if image.name == name), None)
    if taken:
        raise EC2ClientError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {taken}")


def _begin(image: Any, copy: Callable[[], None], save: Callable[[], None]) -> None:
    """Copy in the background. The image's state tells when it is done, as on EC2."""
    image.state = "pending"

    def make() -> None:
        try:
            copy()
        except ImageError:
            # The thread ends here; the caller sees the failure in the image's state.
            traceback.print_exc(file=sys.stderr)
            image.state = "failed"
        else:
            with books_lock:
                image.state = "available"
                save()

    threading.Thread(target=make, name=f"capture {image.id}", daemon=True).start()


class ImageRecords:
    """Keeps a file beside each image's folder with what the books say of the image."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: dict[str, str] = {}

    def save(self, backend: Any) -> None:
        """Write changed images that have a folder here. The caller holds books_lock."""
        for image in list(backend.amis.values()):
            if image.state != "available" or not (self._folder / image.id).is_dir():
                continue
            text = json.dumps(_describe(image))
            if self._written.get(image.id) != text:
                (self._folder / f"{image.id}.json").write_text(text)
                self._written[image.id] = text

    def restore(self, backend: Any, host: InstanceHost) -> None:
        """Restore the images of an earlier run. The caller holds books_lock."""
        for folder in sorted(path for path in self._folder.iterdir() if path.is_dir()):
            path = folder.with_name(f"{folder.name}.json")
            if path.exists():
                image = backend.amis[folder.name] = _enter(backend, json.loads(path.read_text()))
                host.images.add(image.id, folder)
            else:
                shutil.rmtree(folder)


def _describe(image: Any) -> dict[str, Any]:
    return {
        "id": image.id,
        "name": image.name,
        "description": image.description,
        "created": image.creation_date.isoformat(),
        "architecture": image.architecture,
        "virtualization_type": image.virtualization_type,
        "location": image.image_location,
        "tags": {tag["key"]: tag["value"] for tag in image.get_tags()},
    }


def _enter(backend: Any, known: dict[str, Any]) -> Any:
    image: Any = Ami(
        backend,
        known["id"],
        name=known["name"],
        description=known["description"],
        creation_date=datetime.fromisoformat(known["created"]),
        architecture=known["architecture"],
        virtualization_type=known["virtualization_type"],
        image_location=known["location"],
    )
    image.add_tags(known["tags"])
    return image
