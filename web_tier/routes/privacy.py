"""The page that shows what was rebuilt from activations of sample photos: what the venue `split` gives away."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from flask import Blueprint, Response, make_response, render_template

from shoal.folders import folder
from web_tier.access.rights import Right, needs

blueprint = Blueprint("privacy", __name__)

_TITLES = {"mobilenet_v2": "MobileNetV2", "resnet50": "ResNet50"}


@blueprint.get("/privacy")
@needs(Right.NOTHING)
def privacy_page() -> Response:
    """Original and reconstruction side by side, for the cuts that were attacked."""
    return make_response(render_template("privacy.html", rows=_rows()))


@cache
def _rows() -> list[dict[str, Any]]:
    """What `python -m benchmarks.privacy --page static/privacy` wrote."""
    rows: list[dict[str, Any]] = json.loads((folder("static") / "privacy" / "figures.json").read_text())
    return [row | {"title": _TITLES[row["model"]], "remedy": _in_words(row["remedy"])} for row in rows]


def _in_words(remedy: str) -> str:
    """What the device did to the activation beside packing it in 8 bits."""
    if remedy == "uint4":
        return "in 4 bits"
    _, _, size = remedy.partition("noise-")
    return f"with noise of {size} of its deviation" if size else ""
