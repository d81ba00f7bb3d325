"""`python -m benchmarks.attacks.address_tricks`: tricks that lead a server to its own insides; how many reach them?

Each trick is tried as the address of a photo and as that of a webhook. A resolver of its own resolves names, and reads
numbers as C libraries do, and no connection leaves the process: one to anywhere but the two public addresses of
the trick's own server counts as reached. Exits with status 1 if one is.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import unquote

import click
from rich.console import Console
from rich.table import Table

from shoal.errors import BadImage
from web_tier.outside.fetch import Fetcher
from web_tier.outside.http_post import Poster

PUBLIC, PUBLIC_SIX = "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
SECONDS = 5.0

# Where a stranger would like a server to go.
TARGETS = {
    "loopback": "127.0.0.1",
    "another loopback": "127.8.8.8",
    "this host": "0.0.0.0",
    "private 10": "10.0.0.7",
    "private 172": "172.16.0.1",
    "private 192": "192.168.1.1",
    "carrier's own": "100.64.0.1",
    "metadata": "169.254.169.254",
    "metadata of Alibaba": "100.100.100.200",
    "metadata of Oracle": "192.0.0.192",
    "wire server of Azure": "168.63.129.16",
    "multicast": "224.0.0.1",
    "broadcast": "255.255.255.255",
}
SIX_TARGETS = {
    "loopback": "::1",
    "this host": "::",
    "link-local": "fe80::1",
    "metadata": "fd00:ec2::254",
    "unique local": "fc00::1",
    "site-local": "fec0::1",
    "multicast": "ff02::1",
    "documentation": "2001:db8::1",
    "new documentation": "3fff::1",
    "segment routing": "5f00::1",
    "local NAT64": "64:ff9b:1::7f00:1",
    "not handed out": "4000::1",
}


@dataclass
class ClosedWorld:
    """Names, and the connections that were made. reached: what is at none of the two public addresses."""

    names: dict[str, list[list[str]]] = field(default_factory=dict)
    reached: list[str] = field(default_factory=list)

    def resolve(self, host: str, port: int) -> list[str]:  # noqa: ARG002 - the signature of Resolve
        """Resolve a name; a number as the C library reads it. Raises OSError."""
        if host in self.names:
            answers = self.names[host]
            return answers.pop(0) if len(answers) > 1 else answers[0]
        if ":" in host:
            return [host]
        with suppress(OSError):
            return [socket.inet_ntoa(socket.inet_aton(host))]
        raise socket.gaierror(f"{host} is not known")

    def dial(self, ip: str, port: int, seconds: float) -> socket.socket:  # noqa: ARG002 - the signature of Dial
        """A connection to the trick's own server, which redirects to what stands behind `?`; none to anywhere else."""
        if ip not in (PUBLIC, PUBLIC_SIX):
            self.reached.append(ip)
            raise ConnectionRefusedError(f"{ip} is out of bounds")
        ours, theirs = socket.socketpair()
        threading.Thread(target=_redirect, args=(theirs,), daemon=True).start()
        return ours


def _redirect(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        head = b""
        while b"\r\n\r\n" not in head and (more := connection.recv(65536)):
            head += more
        target = head.split(b" ", 2)[1].partition(b"?")[2]
        location = unquote(target.decode("latin-1")).encode("latin-1", "replace")
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")


Names = dict[str, list[list[str]]]


def tricks() -> Iterator[tuple[str, str, Names]]:
    """Name, address, and names that it needs, each with its answers: the last stays."""
    for name, ip in TARGETS.items():
        for spelling, host in _spellings(IPv4Address(ip)):
            yield f"{name}, {spelling}", f"http://{host}/", {}
        yield from _by_name(name, ip)
    for name, ip in SIX_TARGETS.items():
        yield f"{name}, IPv6", f"http://[{ip}]/", {}
        yield f"{name}, IPv6 with a zone", f"http://[{ip}%25eth0]/", {}
        yield f"{name}, IPv6 in full", f"http://[{IPv6Address(ip).exploded}]/", {}
        yield from _by_name(f"{name}, IPv6", ip)
    for name, url in _two_readers():
        yield name, url, {"inside.example": [["127.0.0.1"]], "photos.example": [[PUBLIC]]}


def _spellings(ip: IPv4Address) -> Iterator[tuple[str, str]]:
    number, octets = int(ip), str(ip).split(".")
    packed = f"{number >> 16:x}:{number & 0xFFFF:x}"
    yield "plain", str(ip)
    yield "decimal", str(number)
    yield "hexadecimal", f"0x{number:08x}"
    yield "octal", ".".join(f"0{int(octet):o}" for octet in octets)
    yield "hexadecimal parts", ".".join(f"0x{int(octet):x}" for octet in octets)
    yield "short", f"{octets[0]}.{number & 0xFFFFFF}"
    yield "two and a half", f"{octets[0]}.{octets[1]}.{number & 0xFFFF}"
    yield "padded", ".".join(octet.zfill(3) for octet in octets)
    yield "a dot at the end", f"{ip}."
    yield "wide digits", str(ip).translate({48 + digit: 0xFF10 + digit for digit in range(10)})
    yield "ideographic dots", str(ip).replace(".", "\u3002")
    yield "percent", "".join(f"%{ord(letter):02x}" for letter in str(ip))
    yield "mapped into IPv6", f"[::ffff:{ip}]"
    yield "mapped, hexadecimal", f"[::ffff:{packed}]"
    yield "compatible", f"[::{ip}]"
    yield "NAT64", f"[64:ff9b::{packed}]"
    yield "6to4", f"[2002:{packed}::1]"
    yield "Teredo", f"[2001:0:5db8:d70e::{(~number & 0xFFFFFFFF) >> 16:x}:{~number & 0xFFFF:x}]"
    yield "ISATAP", f"[2606:2800:21f:cb07:0:5efe:{ip}]"


def _by_name(name: str, ip: str) -> Iterator[tuple[str, str, Names]]:
    host = "trick.example"
    photos = {"photos.example": [[PUBLIC]]}
    shown = f"[{ip}]" if ":" in ip else ip
    yield f"{name}, by name", f"http://{host}/", {host: [[ip]]}
    yield f"{name}, one of several", f"http://{host}/", {host: [[PUBLIC, ip]]}
    yield f"{name}, first of several", f"http://{host}/", {host: [[ip, PUBLIC]]}
    yield f"{name}, at the second look", f"http://{host}/?http://{host}/", {host: [[PUBLIC], [ip]]}
    yield f"{name}, redirected", f"http://photos.example/?http://{shown}/", photos
    yield f"{name}, redirected without a scheme", f"http://photos.example/?//{shown}/", photos
    yield f"{name}, redirected to a name", f"http://photos.example/?http://{host}/", photos | {host: [[ip]]}


def _two_readers() -> Iterator[tuple[str, str]]:
    """Addresses in which two programs would see two hosts."""
    yield "a host as user", "http://photos.example@127.0.0.1/"
    yield "a host as password", "http://a:photos.example@127.0.0.1/"
    yield "a backslash", "http://photos.example\\@127.0.0.1/"
    yield "a line end", "http://photos.example/\r\nHost: inside.example"
    yield "a tab in the host", "http://127.0.\t0.1/"
    yield "a blank", "http://127.0.0.1 .photos.example/"
    yield "a zero byte", "http://127.0.0.1\x00.photos.example/"
    yield "a fragment as host", "http://inside.example#@photos.example/"
    yield "a query as host", "http://inside.example?@photos.example/"
    yield "a bracket", "http://[::1/"
    yield "two ports", "http://photos.example:80:22/"
    yield "another service", "http://photos.example:22/"
    yield "a file", "file:///etc/passwd"
    yield "gopher", "gopher://127.0.0.1:6379/_SET"
    yield "redirected to a file", "http://photos.example/?file:///etc/passwd"
    yield "redirected to gopher", "http://photos.example/?gopher://127.0.0.1:6379/"
    yield "redirected with a password", "http://photos.example/?http://a:b@127.0.0.1/"
    yield "redirected to another service", "http://photos.example/?http://photos.example:6379/"


def reached(door: str, url: str, names: Names) -> list[str]:
    """The forbidden addresses to which `url` leads. door: photo or webhook."""
    world = ClosedWorld({host: list(answers) for host, answers in names.items()})
    call: Callable[[], object]
    visitor: Fetcher | Poster
    if door == "photo":
        visitor = fetcher = Fetcher(100_000, SECONDS, frozenset(), world.resolve, world.dial)
        call = lambda: fetcher.fetch(url)  # noqa: E731
    else:
        visitor = poster = Poster(SECONDS, frozenset(), world.resolve, world.dial)
        call = lambda: poster.post(url, b"{}", {})  # noqa: E731
    try:
        with suppress(BadImage):
            call()
    finally:
        visitor.stop()
    return world.reached


@click.command()
@click.option("--all", "shows_all", is_flag=True, help="Name each trick.")
def main(shows_all: bool) -> None:
    """Try all tricks at both doors."""
    table = Table("door", "tricks", "reached a forbidden address", box=None)
    failed = []
    for door in ("photo", "webhook"):
        found = [(name, url, reached(door, url, names)) for name, url, names in tricks()]
        bad = [f"{door}: {name}: {url!r} reached {', '.join(ips)}" for name, url, ips in found if ips]
        failed += bad
        table.add_row(door, str(len(found)), str(len(bad)))
        if shows_all:
            for name, url, _ in found:
                print(f"{door}: {name}: {url!r}")
    Console().print(table)
    for line in failed:
        print(line)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
