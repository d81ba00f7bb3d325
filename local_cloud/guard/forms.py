"""Upload forms, read as ministack reads them."""

from collections.abc import Iterator, Mapping

from ministack.core.sigv4 import decode_header_value
from ministack.services import s3

from local_cloud.guard.permissions import NeededPermission
from local_cloud.guard.signatures import SignedRequest

# Fields of a form that need a permission of their own.
_FURTHER = {"acl": "PutObjectAcl", "x-amz-acl": "PutObjectAcl", "x-amz-tagging": "PutObjectTagging"}


def form_fields(request: SignedRequest) -> Mapping[str, str]:
    """The fields of an upload form, names in small letters. The file itself is not among them."""
    parts = s3._parse_multipart_form(request.headers["content-type"], request.body)
    fields = {name.lower(): decode_header_value(value) for name, _, _, value in parts if name != "file"}
    file_name = next((told for name, told, _, _ in reversed(parts) if name == "file"), None)
    return {**fields, "key": fields.get("key", "").replace("${filename}", file_name or "")}


def form_needs(request: SignedRequest) -> Iterator[NeededPermission]:
    """What an upload form needs permissions for."""
    fields = form_fields(request)
    resource = f"arn:aws:s3:::{request.path.strip('/')}/{fields['key']}"
    yield NeededPermission("s3:PutObject", resource)
    yield from (NeededPermission(f"s3:{action}", resource) for name, action in _FURTHER.items() if name in fields)
