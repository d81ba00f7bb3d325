"""Brings the colours of a picture to sRGB, by the profile in its file."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from typing import Any

from PIL import Image, ImageCms

# Profiles of cameras and screens have a few KB, those of printers up to 3 MB.
PROFILE_BYTES = 4 * 1024 * 1024
_KEPT = 8  # profiles whose transforms are kept: photos of one user have mostly the same
_SAME = 2  # a profile that changes no colour by more than this, of 255, is sRGB

_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}

_transforms: OrderedDict[bytes, Any] = OrderedDict()
_lock = threading.Lock()


def to_srgb(image: Image.Image, profile: object) -> Image.Image:
    """The picture in sRGB. Unchanged if the profile is missing, broken, sRGB itself, or for another kind of picture.

    image: RGB, L or CMYK, or RGB or L with transparency, which is kept.
    """
    if not isinstance(profile, bytes) or not 128 <= len(profile) <= PROFILE_BYTES:
        return image
    colours = image.convert(image.mode[:-1]) if image.mode in ("RGBA", "LA") else image
    if _MODES.get(profile[16:20]) != colours.mode:
        return image
    transform = _transform(profile, colours.mode)
    if transform is None:
        return image
    changed = ImageCms.applyTransform(colours, transform)
    if changed is None:
        return image
    if colours is not image:
        changed.putalpha(image.getchannel("A"))
    return changed


def _transform(profile: bytes, mode: str) -> Any:
    """The transform from a profile to sRGB; None if it is not needed or the profile is broken."""
    with _lock:
        if profile in _transforms:
            _transforms.move_to_end(profile)
            return _transforms[profile]
        made = _transforms[profile] = _made(profile, mode)
        if len(_transforms) > _KEPT:
            _transforms.popitem(last=False)
        return made


def _made(profile: bytes, mode: str) -> Any:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        if mode == "CMYK":
            return transform
        colours = _probe().convert(mode)
        seen = ImageCms.applyTransform(colours, transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None  # a broken profile says nothing of the colours
    if seen is None:
        return None
    changes = zip(colours.convert("RGB").tobytes(), seen.tobytes(), strict=True)
    return transform if any(abs(one - other) > _SAME for one, other in changes) else None


def _probe() -> Image.Image:
    """125 colours of all kinds."""
    steps = (0, 64, 128, 192, 255)
    return Image.frombytes("RGB", (125, 1), bytes(v for r in steps for g in steps for b in steps for v in (r, g, b)))
