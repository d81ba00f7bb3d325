"""Boundaries in forms are found where werkzeug finds them, without trying each byte of a photo."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as some
from werkzeug.sansio.multipart import MultipartDecoder

from web_tier.intake.multipart import _BoundarySearch, read_parts

FORM = "multipart/form-data; boundary=xyz"
PIECES = some.sampled_from([b"--xyz", b"--xyz--", b"--xy", b"\r\n", b"\r", b"\n", b"-", b" ", b"z", b"\xff\xd8"])


@given(some.lists(PIECES, max_size=12).map(b"".join))
def test_a_boundary_is_found_where_the_expression_finds_it(data: bytes) -> None:
    expression = MultipartDecoder(b"xyz").boundary_re
    found, expected = _BoundarySearch(b"--xyz", expression).search(bytearray(data)), expression.search(data)

    assert (found and found.span()) == (expected and expected.span())


def test_a_photo_may_hold_the_boundary_within_a_line() -> None:
    photo = b"\xff\xd8" + b"\0" * 100_000 + b"--xyz\r\n" + b"\0" * 100_000
    head = b'--xyz\r\nContent-Disposition: form-data; name="inputFile"; filename="a.jpg"\r\n\r\n'
    [part] = read_parts(io.BytesIO(head + photo + b"\r\n--xyz--\r\n"), FORM, 10**6)

    assert part.body is not None
    assert part.body.read() == photo
    part.close()
