"""Photos by URL: the tricks that send a server to its own insides, slow it down or flood it, and what stops them."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path
from urllib.parse import unquote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as some

from benchmarks.attacks import address_tricks
from shoal.errors import BadImage
from tests.web_fixtures import jpeg
from web_tier.outside import fetch, guarded_connection
from web_tier.outside.addresses import parse, public
from web_tier.outside.fetch import Fetcher
from web_tier.outside.special_addresses import SPECIAL

MAX_BYTES = 100_000
PHOTO = jpeg()
PUBLIC = "93.184.215.14"
SQUEEZED = zlib.compress(bytes(50_000_000))  # 50 KB

NAMES = {
    "photos.example": [PUBLIC],
    "six.example": ["2606:2800:21f:cb07:6820:80da:af6b:8b2c"],
    "inside.example": ["127.0.0.1"],
    "neighbour.example": ["10.0.0.7"],
    "metadata.example": ["169.254.169.254"],
    "mixed.example": [PUBLIC, "192.168.0.1"],
    "six-inside.example": ["::1"],
    "nowhere.example": [],
    "xn--mnchen-3ya.example": [PUBLIC],
}


def known(host: str, port: int) -> list[str]:
    """A resolver without a network. Numbers are their own address, as for the C library."""
    if host in NAMES:
        return NAMES[host]
    if host[0].isdigit() or ":" in host:
        return [host]
    raise socket.gaierror(f"{host} is not known")


class Server(BaseHTTPRequestHandler):
    """Somebody else's web server, honest and not."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        getattr(self, "at_" + path.strip("/").partition(".")[0].replace("-", "_"))(query)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def _answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _redirect(self, location: str, status: int = 302) -> None:
        self._answer(b"", status, Location=location)

    def at_cat(self, query: str) -> None:
        self._answer(PHOTO, Content_Type="image/jpeg")

    def at_echo(self, query: str) -> None:
        self._answer(f"{self.headers['Host']} {query}".encode(), Content_Type="image/jpeg")

    def at_untyped(self, query: str) -> None:
        self._answer(PHOTO)

    def at_to(self, query: str) -> None:
        self._redirect(unquote(query))

    def at_hops(self, query: str) -> None:
        left = int(query)
        self._redirect(f"/hops?{left - 1}" if left > 1 else "/cat.jpg", 307)

    def at_loop(self, query: str) -> None:
        self._redirect("/loop")

    def at_page(self, query: str) -> None:
        self._answer(b"<html>", Content_Type="text/html; charset=utf-8")

    def at_missing(self, query: str) -> None:
        self._answer(PHOTO, 404, Content_Type="image/jpeg")

    def at_large(self, query: str) -> None:
        self._answer(bytes(MAX_BYTES + 1), Content_Type="image/jpeg")

    def at_larger_than_said(self, query: str) -> None:
        self._answer(bytes(MAX_BYTES * 3), Content_Type="image/jpeg", Content_Length="")

    def at_endless(self, query: str) -> None:
        self._begin("Transfer-Encoding: chunked")
        while True:
            self.wfile.write(b"4000\r\n" + bytes(0x4000) + b"\r\n")

    def at_bomb(self, query: str) -> None:
        self._answer(SQUEEZED, Content_Type="image/jpeg", Content_Encoding="deflate")

    def at_slow_body(self, query: str) -> None:
        self._begin("Content-Length: 1000")
        self._drip(b"x")

    def at_slow_endless(self, query: str) -> None:
        self._begin("Connection: close")
        self._drip(b"x")

    def at_slow_head(self, query: str) -> None:
        self._drip(b"H")

    def at_silent(self, query: str) -> None:
        self._drip(b"")

    def at_cut(self, query: str) -> None:
        self._begin("Content-Length: 1000")

    def at_nonsense(self, query: str) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

    def at_heads(self, query: str) -> None:
        self._begin(*(f"X-{number}: x" for number in range(200)))

    def _begin(self, *headers: str) -> None:
        head = ("HTTP/1.1 200 OK", "Content-Type: image/jpeg", *headers, "", "")
        self.wfile.write("\r\n".join(head).encode())

    def _drip(self, piece: bytes) -> None:
        for _ in range(100):  # until the client hangs up: its deadline is far below
            self.wfile.write(piece)
            self.wfile.flush()
            if self.server.closing.wait(0.05):  # type: ignore[attr-defined]
                return


class ManyThreads(ThreadingHTTPServer):
    """A server that forty clients may call at the same moment."""

    request_queue_size = 128


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[int]:
    """The server on a port of its own."""
    server = ManyThreads(("127.0.0.1", 0), Server)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients hang up on it: that is the test
    server.closing = threading.Event()  # type: ignore[attr-defined]
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.closing.set()  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as found:
        yield found


@contextmanager
def fetching(
    port: int, own: frozenset[str] = frozenset(), resolve: guarded_connection.Resolve = known, seconds: float = 1.0
) -> Iterator[Callable[[str], fetch.FetchedFile]]:
    """A fetcher that believes itself on the internet: each public address leads to the test's own server."""

    def dial(address: str, asked: int, seconds: float) -> socket.socket:
        assert public(address) or own, f"a connection to {address} was attempted"
        return socket.create_connection(("127.0.0.1", port), timeout=seconds)

    fetcher = Fetcher(MAX_BYTES, seconds, own, resolve, dial)
    try:
        yield fetcher.fetch
    finally:
        fetcher.stop()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://photos.example/cat.jpg", "cat.jpg"),
        ("HTTP://PHOTOS.EXAMPLE:80/cat.jpg", "cat.jpg"),
        ("http://photos.example:8080/cat.jpg#part", "cat.jpg"),
        (f"http://{PUBLIC}/cat.jpg", "cat.jpg"),
        ("http://six.example/cat.jpg", "cat.jpg"),
        ("http://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/cat.jpg", "cat.jpg"),
        ("http://münchen.example/cat.jpg", "cat.jpg"),
        ("http://photos.example/to?http://six.example/cat.jpg", "to"),
        ("http://photos.example/hops?5", "hops"),
        ("http://photos.example/untyped", "untyped"),
        ("http://photos.example/cat.%2e%2e%2fx%20y.jpg", "x y.jpg"),
    ],
)
def test_a_photo_on_the_internet_is_fetched(port: int, url: str, name: str) -> None:
    with fetching(port) as get:
        assert get(url) == fetch.FetchedFile(name, PHOTO)


def test_the_server_is_asked_by_its_name(port: int) -> None:
    with fetching(port) as get:
        assert (
            get("http://photos.example:8080/echo?a=b c".replace(" ", "%20")).payload == b"photos.example:8080 a=b%20c"
        )


TRICKS = {
    # what is not the web
    "a file": ("file:///etc/passwd", "only http and https"),
    "gopher": ("gopher://photos.example/cat.jpg", "only http and https"),
    "ftp": ("ftp://photos.example/cat.jpg", "only http and https"),
    "data": ("data:image/png;base64,AAAA", "only http and https"),
    "no scheme": ("photos.example/cat.jpg", "only http and https"),
    "scheme alone": ("http://", "no host"),
    "nothing": ("", "blanks"),
    # two readers, two hosts
    "a password": ("http://user:secret@photos.example/cat.jpg", "user name"),
    "a host as user": ("http://photos.example@127.0.0.1/", "user name"),
    "a backslash": ("http://photos.example\\@127.0.0.1/", "backslashes"),
    "a line feed": ("http://photos.example/cat\r\nHost: inside.example", "control characters"),
    "a tab in the host": ("http://127.0.\t0.1/", "control characters"),
    "a blank": ("http://photos.example /cat.jpg", "blanks"),
    "a zero byte": ("http://photos.example\x00.inside.example/", "control characters"),
    "a fragment that looks like a host": ("http://inside.example#@photos.example/", "not on the public"),
    "a bracket": ("http://[::1/", "not an address"),
    "too long": ("http://photos.example/" + "a" * 2048, "longer than"),
    # ports of other services
    "ssh": ("http://photos.example:22/", "port 22"),
    "redis": ("http://photos.example:6379/", "port 6379"),
    "a port beyond": ("http://photos.example:99999/", "not a number up to 65535"),
    # loopback, in many spellings
    "localhost by name": ("http://inside.example/", "not on the public"),
    "loopback": ("http://127.0.0.1/", "not on the public"),
    "all of loopback": ("http://127.8.8.8/", "not on the public"),
    "this host": ("http://0.0.0.0/", "not on the public"),
    "decimal": ("http://2130706433/", "four decimal numbers"),
    "hexadecimal": ("http://0x7f000001/", "four decimal numbers"),
    "octal": ("http://0177.0.0.1/", "four decimal numbers"),
    "mixed": ("http://0x7f.0.1/", "four decimal numbers"),
    "short": ("http://127.1/", "four decimal numbers"),
    "padded": ("http://127.000.000.001/", "four decimal numbers"),
    "a dot at the end": ("http://127.0.0.1./", "four decimal numbers"),
    "circled digits": ("http://①②⑦.⓪.⓪.①/", "not on the public"),
    "ideographic dots": ("http://127。0。0。1/", "not on the public"),
    "percent": ("http://%31%32%37.0.0.1/", "no host"),
    "IPv6 loopback": ("http://[::1]/", "not on the public"),
    "IPv6 of this host": ("http://[::]/", "not on the public"),
    "IPv6 by name": ("http://six-inside.example/", "not on the public"),
    "IPv6-mapped": ("http://[::ffff:127.0.0.1]/", "not on the public"),
    "IPv6-mapped hexadecimal": ("http://[::ffff:7f00:1]/", "not on the public"),
    "IPv6-compatible": ("http://[::127.0.0.1]/", "not on the public"),
    "NAT64": ("http://[64:ff9b::7f00:1]/", "not on the public"),
    "6to4": ("http://[2002:7f00:1::]/", "not on the public"),
    "Teredo": ("http://[2001:0:5db8:d70e::80ff:fffe]/", "not on the public"),
    "a zone": ("http://[fe80::1%25eth0]/", "not on the public"),
    # neighbours
    "private 10": ("http://10.0.0.1/", "not on the public"),
    "private 172": ("http://172.16.0.1/", "not on the public"),
    "private 192": ("http://192.168.1.1/", "not on the public"),
    "private by name": ("http://neighbour.example/", "not on the public"),
    "one of several is private": ("http://mixed.example/", "not on the public"),
    "carrier's own": ("http://100.64.0.1/", "not on the public"),
    "link-local": ("http://169.254.0.1/", "not on the public"),
    "metadata": ("http://169.254.169.254/latest/meta-data/", "not on the public"),
    "metadata by name": ("http://metadata.example/", "not on the public"),
    "metadata by IPv6": ("http://[fd00:ec2::254]/", "not on the public"),
    "metadata, mapped": ("http://[::ffff:a9fe:a9fe]/", "not on the public"),
    "unique local": ("http://[fc00::1]/", "not on the public"),
    "site-local": ("http://[fec0::1]/", "not on the public"),
    "multicast": ("http://224.0.0.1/", "not on the public"),
    "IPv6 multicast": ("http://[ff02::1]/", "not on the public"),
    "broadcast": ("http://255.255.255.255/", "not on the public"),
    "documentation": ("http://192.0.2.1/", "not on the public"),
    "Azure's wire server": ("http://168.63.129.16/", "not on the public"),
    "IBM's name server": ("http://161.26.0.10/", "not on the public"),
    "Google's APIs within": ("http://199.36.153.8/", "not on the public"),
    "Oracle's metadata": ("http://192.0.0.192/", "not on the public"),
    "Alibaba's metadata": ("http://100.100.100.200/", "not on the public"),
    "6to4 relay": ("http://192.88.99.1/", "not on the public"),
    "dummy address": ("http://192.0.0.8/", "not on the public"),
    "port control": ("http://192.0.0.9/", "not on the public"),
    "AS112": ("http://192.175.48.1/", "not on the public"),
    "6to4 of a public address": ("http://[2002:5db8:d70e::1]/", "not on the public"),
    "new documentation": ("http://[3fff::1]/", "not on the public"),
    "segment routing": ("http://[5f00::1]/", "not on the public"),
    "local NAT64": ("http://[64:ff9b:1::7f00:1]/", "not on the public"),
    "dummy IPv6": ("http://[100:0:0:1::1]/", "not on the public"),
    "ORCHID": ("http://[2001:20::1]/", "not on the public"),
    "ISATAP of loopback": ("http://[2606:2800:21f:cb07:0:5efe:127.0.0.1]/", "not on the public"),
    "ISATAP of a neighbour": ("http://[2606:2800:21f:cb07:200:5efe:10.0.0.7]/", "not on the public"),
    "not handed out": ("http://[4000::1]/", "not on the public"),
    "no address at all": ("http://nowhere.example/", "not on the public"),
    "unknown": ("http://unknown.example/", "not known"),
    # redirects
    "to loopback": ("http://photos.example/to?http://127.0.0.1/", "not on the public"),
    "to a name inside": ("http://photos.example/to?http://inside.example/", "not on the public"),
    "to metadata": ("http://photos.example/to?http://169.254.169.254/latest/", "not on the public"),
    "to a mapped address": ("http://photos.example/to?http://[::ffff:169.254.169.254]/", "not on the public"),
    "to a file": ("http://photos.example/to?file:///etc/passwd", "only http and https"),
    "to a password": ("http://photos.example/to?http://a:b@photos.example/cat.jpg", "user name"),
    "to another port": ("http://photos.example/to?http://photos.example:22/", "port 22"),
    "without scheme": ("http://photos.example/to?//127.0.0.1/", "not on the public"),
    "six times": ("http://photos.example/hops?6", "more than 5 times"),
    "for ever": ("http://photos.example/loop", "more than 5 times"),
    # answers that flood, stall or lie
    "too large, and says so": ("http://photos.example/large", "more than 0.0954 MB"),
    "too large, and does not": ("http://photos.example/larger-than-said", "more than 0.0954 MB"),
    "endless": ("http://photos.example/endless", "more than 0.0954 MB"),
    "a bomb": ("http://photos.example/bomb", "compressed"),
    "a byte now and then": ("http://photos.example/slow-body", "within 1 s"),
    "a byte now and then, without end": ("http://photos.example/slow-endless", "within 1 s"),
    "a head that never ends": ("http://photos.example/slow-head", "within 1 s"),
    "silence": ("http://photos.example/silent", "within 1 s"),
    "two hundred headers": ("http://photos.example/heads", "broke off"),
    "cut short": ("http://photos.example/cut", "broke off"),
    "not HTTP": ("http://photos.example/nonsense", "broke off"),
    "a page": ("http://photos.example/page", "not an image"),
    "an error page with a photo": ("http://photos.example/missing", "answers 404"),
    "https without": ("https://photos.example/cat.jpg", "certificate"),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_is_refused(port: int, trick: str) -> None:
    url, reason = TRICKS[trick]
    with fetching(port) as get, pytest.raises(BadImage, match=reason):
        get(url)


def test_the_attack_with_address_tricks_reaches_nothing_and_would_notice_if_it_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tricks = list(address_tricks.tricks())
    assert len(tricks) >= 450
    for door in ("photo", "webhook"):
        assert [name for name, url, names in tricks if address_tricks.reached(door, url, names)] == []
    monkeypatch.setattr(guarded_connection, "public", lambda address: True)
    assert sum(bool(address_tricks.reached("photo", url, names)) for _, url, names in tricks) > 300


def test_a_name_is_resolved_once(port: int) -> None:
    """DNS rebinding: public for the check, loopback for the connection."""
    answers = iter([[PUBLIC], ["127.0.0.1"]])
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    with fetching(port, resolve=rebinding) as get:
        assert get("http://rebind.example/cat.jpg").payload == PHOTO
        assert asked == ["rebind.example"]
        with pytest.raises(BadImage, match="not on the public"):
            get("http://rebind.example/cat.jpg")


def test_a_resolver_that_hangs_is_left_behind(port: int) -> None:
    answered = threading.Event()

    def hanging(host: str, port: int) -> list[str]:
        answered.wait(20)
        return [PUBLIC]

    with fetching(port, resolve=hanging, seconds=0.2) as get, pytest.raises(BadImage, match="within"):
        get("http://photos.example/cat.jpg")
    answered.set()


def test_the_next_address_is_tried(port: int) -> None:
    tried: list[str] = []

    def dial(address: str, asked: int, seconds: float) -> socket.socket:
        tried.append(address)
        if len(tried) == 1:
            raise ConnectionRefusedError
        return socket.create_connection(("127.0.0.1", port), timeout=seconds)

    fetcher = Fetcher(MAX_BYTES, 1.0, resolve=lambda host, port: ["2606:2800:21f::1", PUBLIC], dial=dial)
    assert fetcher.fetch("http://photos.example/cat.jpg").payload == PHOTO
    assert tried == ["2606:2800:21f::1", PUBLIC]
    fetcher.stop()


def test_an_address_that_nobody_answers_at_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        free = listening.getsockname()[1]
    with fetching(free) as get, pytest.raises(BadImage, match="cannot be reached"):
        get("http://photos.example/cat.jpg")


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    with (
        serving(_self_signed(tmp_path)) as secure,
        fetching(secure) as get,
        pytest.raises(BadImage, match="certificate"),
    ):
        get("https://photos.example/cat.jpg")


def test_a_certificate_is_checked_against_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = _self_signed(tmp_path)
    monkeypatch.setattr(guarded_connection, "_context", lambda: ssl.create_default_context(cafile=str(certificate)))
    with serving(certificate) as secure, fetching(secure) as get:
        assert get("https://photos.example/cat.jpg").payload == PHOTO
        with pytest.raises(BadImage, match="certificate"):
            get("https://six.example/cat.jpg")


def test_the_operator_can_allow_a_place_of_his_own(port: int) -> None:
    own = frozenset({f"127.0.0.1:{port}"})
    with fetching(port, own) as get:
        assert get(f"http://127.0.0.1:{port}/cat.jpg").payload == PHOTO
        for other in (f"http://127.0.0.2:{port}/cat.jpg", "http://127.0.0.1/cat.jpg", "http://127.0.0.1:22/"):
            with pytest.raises(BadImage):
                get(other)


@given(some.ip_addresses(v=4))
def test_an_address_is_public_in_all_its_forms_or_in_none(address: object) -> None:
    mapped = f"::ffff:{address}"
    translated = f"64:ff9b::{address}"
    assert public(str(address)) == public(mapped) == public(translated)


@given(some.text() | some.from_regex(r"https?://[^/]*(/.*)?"))
def test_any_text_is_parsed_or_refused(url: str) -> None:
    try:
        place = parse(url)
    except BadImage:
        return
    assert place.scheme in ("http", "https")
    assert place.url.isascii()
    assert parse(place.url) == place


def _self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "photos.example")])
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("photos.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "certificate.pem"
    path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize("block", SPECIAL, ids=str)
def test_no_address_of_a_special_block_is_public(block: IPv4Network | IPv6Network) -> None:
    middle = block[block.num_addresses // 2]
    for address in (block[0], middle, block[-1]):
        assert not public(str(address))
        if isinstance(address, IPv4Address):
            assert not public(f"::ffff:{address}")
            assert not public(f"64:ff9b::{address}")
            assert not public(f"2606:2800:21f:cb07:0:5efe:{address}")


@pytest.mark.parametrize(
    "address", [PUBLIC, "8.8.8.8", "2606:2800:21f:cb07:0:5efe:8.8.8.8", "64:ff9b::8.8.8.8", "2a00::1"]
)
def test_public_addresses_are_still_public(address: str) -> None:
    assert public(address)
