"""Reads the header of one part of a multipart form: the name of the field, and the file name in any encoding.

Clients send a file name as UTF-8, quoted or not, or in the encoding of their system, percent-encoded, as RFC 2231 or
RFC 2047 say, or with a Windows path. A name that cannot be read is replaced; it never costs the photo.

The encodings are told apart by the rules below. Detectors need longer texts: charset-normalizer reads 1 of 16 short
file names right.
"""

from __future__ import annotations

import re
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from urllib.parse import unquote_to_bytes

LONGEST_BYTES = 4096  # of a header; the rest of a longer one is dropped

_HIGH = re.compile(rb"[\x80-\xff]+")
_COMMON_HANZI = re.compile(rb"(?:[\xb0-\xd7][\xa1-\xfe]|[\xa1-\xa9][\xa1-\xfe])+")  # GB 2312 without its rare half
_KANA = re.compile(rb"[\x82\x83][\x40-\xfc]")
_CYRILLIC = re.compile(rb"[\xc0-\xff]{3}")  # no western word has three accented letters in a row
_ENCODED_WORD = re.compile(r"=\?[^?\s]+\?[bq]\?[^?]*\?=", re.IGNORECASE)
_PERCENT = re.compile(r"%[89a-f][0-9a-f]", re.IGNORECASE)  # a byte that is not ASCII


def parameters(header: str) -> dict[str, str]:
    """The parameters of a header (its bytes as Latin-1) by their names in lower case, as text."""
    message = Message()
    message["x"] = _shortened(header).replace("\r", " ").replace("\n", " ")
    try:
        found = message.get_params([], "x")[1:]
    except (ValueError, LookupError):  # a number of thousands of digits in a name
        return {}
    # The value as RFC 2231 comes last, so it wins against the plain value of the same name.
    return {name.lower(): _text(value) for name, value in found}


def file_name(value: str) -> str:
    """The file name in a parameter `filename`."""
    value = value.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")  # as browsers write these three
    if _PERCENT.search(value):
        value = _from_percent(value)
    if _ENCODED_WORD.search(value):
        value = _from_words(value)
    return value


def decoded(raw: bytes) -> str:
    """Text in an encoding that nobody names."""
    for encoding in ("utf-8", *_likely(raw), "cp1252"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")


def _likely(raw: bytes) -> list[str]:
    if all(_COMMON_HANZI.fullmatch(run) for run in _HIGH.findall(raw)):
        return ["gb2312"]
    if _KANA.search(raw):
        return ["cp932"]
    return ["cp1251"] if _CYRILLIC.search(raw) else []


def _shortened(header: str) -> str:
    if len(header) <= LONGEST_BYTES:
        return header
    cut = header[:LONGEST_BYTES]
    return cut + '"' if cut.count('"') % 2 else cut


def _text(value: str | tuple[str | None, str | None, str]) -> str:
    if isinstance(value, str):
        return decoded(value.encode("latin-1", "replace"))
    charset, _, raw = value
    try:
        return raw.encode("latin-1", "replace").decode(charset or "utf-8")
    except (LookupError, ValueError):
        return decoded(raw.encode("latin-1", "replace"))


def _from_percent(value: str) -> str:
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        return value


def _from_words(value: str) -> str:
    try:
        parts = decode_header(value)
        return "".join(one if isinstance(one, str) else one.decode(charset or "latin-1") for one, charset in parts)
    except (HeaderParseError, LookupError, ValueError):
        return value
