"""Makes docs/images/tasks.jpg: what detection and emotion find in the example photos, drawn on them.

python tests/task_pictures.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from PIL import Image, ImageDraw  # noqa: E402

from inference.models import mini_xception, ssd_mobilenet_v2  # noqa: E402
from tests.task_fixtures import answer, photo  # noqa: E402

HEIGHT = 300
SHOWN = (
    (ssd_mobilenet_v2.MODEL.name, "coffee.jpg"),
    (ssd_mobilenet_v2.MODEL.name, "tripod.jpg"),
    (ssd_mobilenet_v2.MODEL.name, "cat.jpg"),
    (mini_xception.MODEL.name, "admiral.jpg"),
)


def drawn(model: str, name: str) -> Image.Image:
    """The photo with a box around all that the model finds."""
    with Image.open(photo(name)) as opened:
        scale = HEIGHT / opened.height
        picture = opened.convert("RGB").resize((round(opened.width * scale), HEIGHT))
    draw = ImageDraw.Draw(picture)
    for found in answer(model, photo(name).read_bytes()).detections:
        left, top, right, bottom = (edge * scale for edge in found.box)
        draw.rectangle((left, top, right - 1, bottom - 1), outline="#ffd400", width=3)
        words = f"{found.name} {found.score:.2f}"
        draw.text((left + 6, top + 4), words, fill="#ffd400", font_size=18, stroke_width=2, stroke_fill="black")
    return picture


def main() -> None:
    """The pictures in a row."""
    pictures = [drawn(*one) for one in SHOWN]
    row = Image.new("RGB", (sum(one.width + 8 for one in pictures) - 8, HEIGHT), "white")
    left = 0
    for one in pictures:
        row.paste(one, (left, 0))
        left += one.width + 8
    row.save(ROOT / "docs" / "images" / "tasks.jpg", quality=78, optimize=True)


if __name__ == "__main__":
    main()
