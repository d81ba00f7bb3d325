"""Writes what the attacks found for the page /privacy and the docs: small pictures, and a row of figures for each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from PIL import Image

FIGURES = "figures.json"
WIDTH = 453  # pixels of a sheet of three pictures


def write(found: Mapping[str, Mapping[str, Any]], pictures: Path, order: Sequence[str], page: Path) -> None:
    """Add a row for each of `found`, by the name of its picture, to those of the folder `page`.

    order: the beginnings of the names, in the order of the page.
    """
    file = page / FIGURES
    rows = {row["name"]: row for row in json.loads(file.read_text())} if file.exists() else {}
    for name, one in found.items():
        with Image.open(pictures / f"{name}.jpg") as sheet:
            small = sheet.resize((WIDTH, round(WIDTH * sheet.height / sheet.width)), Image.Resampling.LANCZOS)
        small.save(page / f"{name}.jpg", "JPEG", quality=80)
        rows[name] = _row(name, one)
    ordered = sorted(
        rows.values(), key=lambda row: (order.index(f"{row['model']}-{row['cut']}"), row["remedy"] != "", row["name"])
    )
    file.write_text(json.dumps(ordered, indent=1) + "\n")


def _row(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    model, cut, remedy = (*name.split("-", 2), "")[:3]
    attacks = {attack: _attack(found[attack]) for attack in ("decoder", "inversion")}
    return {
        "name": name,
        "model": model,
        "cut": cut,
        "remedy": remedy,
        "seconds": round(found["asked_seconds"]),
        "photos": len(found["decoder"]["ssim"]),
        "agreeing": found["agreeing"],
        "compared": found["photos"],
        **attacks,
    }


def _attack(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "ssim": round(fmean(found["ssim"]), 2),
        "psnr": round(fmean(found["psnr"]), 1),
        "same_label": sum(found["same_label"]),
        "pool_label": sum(found["pool_label"]),
    }
