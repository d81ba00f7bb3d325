"""What is kept of photos, and for how long: without what tells of their sender, and nothing once a batch is deleted."""

from __future__ import annotations

import base64
import io

import pytest
import requests
from PIL import Image

from tests.web_fixtures import running_site


@pytest.mark.parametrize("private_data", ["remove", "keep"])
def test_what_tells_of_the_sender_is_not_stored_unless_the_operator_wants_it(private_data: str) -> None:
    place = Image.Exif()
    place[0x0112], place[0x013B] = 6, "Ada Lovelace"
    place.get_ifd(0x8825)[7] = (51, 14, 4)
    told = io.BytesIO()
    Image.new("RGB", (32, 24), "teal").save(told, "JPEG", exif=place)
    body = told.getvalue()
    coded = {"photos": [{"name": "c.jpg", "data": base64.b64encode(body).decode()}]}
    with running_site(private_data=private_data) as site:
        requests.post(site.url, files={"inputFile": ("a.jpg", body)}, timeout=20)
        requests.post(f"{site.url}/v1/label?name=b.jpg", data=body, timeout=20)
        requests.post(f"{site.url}/v1/batches", json=coded, timeout=20)
        stored = [site.cloud.inputs.get(one.key) for one in site.cloud.inputs.list("")]

    assert len(stored) == 3
    for photo in stored:
        with Image.open(io.BytesIO(photo)) as found:
            exif = found.getexif()
        assert exif[0x0112] == 6
        assert (photo == body, 0x013B in exif, bool(exif.get_ifd(0x8825))) == ((private_data == "keep",) * 3)
