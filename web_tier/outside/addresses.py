"""Which addresses on the network Shoal may connect to for a stranger. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit, urlunsplit

import idna

from shoal.errors import BadImage
from web_tier.outside.special_addresses import SPECIAL

PORTS = {"http": 80, "https": 443}
OTHER_PORTS = (8080, 8443)
MOST_CHARACTERS = 2048

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# These addresses contain another address, and packets reach the inner one.
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # NAT64, RFC 6052
_ALLOCATED = ipaddress.ip_network("2000::/3")  # all that is handed out of IPv6, RFC 4291
_ISATAP = (0x00005EFE, 0x02005EFE)  # an IPv4 address follows, RFC 5214
_COMPATIBLE = ipaddress.ip_network("::/96")  # IPv4-compatible, RFC 4291, long out of use
_NUMBER_LIKE = re.compile(r"(0[xX][0-9a-fA-F]*|[0-9]+)(\.(0[xX][0-9a-fA-F]*|[0-9]+))*\.?")
_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?")


@dataclass(frozen=True, slots=True)
class WebAddress:
    """A checked http or https address. target: path and query, as the request line has them."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def url(self) -> str:
        """The whole address in its normal form."""
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def authority(self) -> str:
        """The value of the Host header: the host, and the port if it is not the default of the scheme."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def parse(url: str, own: frozenset[str] = frozenset()) -> WebAddress:
    """Read `url`. Raises BadImage for everything that is not a plain http or https address of a host.

    own: "host:port" pairs that the operator also allows, with any port.
    """
    split = _split(url)
    if split.scheme not in PORTS:
        raise BadImage(f"only http and https addresses are fetched, not {split.scheme[:20]!r}")
    if "@" in split.netloc:
        raise BadImage("the address has a user name or password in it")
    host = _host(split)
    try:
        port = split.port if split.port is not None else PORTS[split.scheme]
    except ValueError:
        raise BadImage("the address has a port that is not a number up to 65535") from None
    if port not in (*PORTS.values(), *OTHER_PORTS) and f"{host}:{port}" not in own:
        raise BadImage(f"port {port} is not allowed: 80, 443, 8080 and 8443 are")
    path = quote(split.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = quote(split.query, safe="/%:@!$&'()*+,;=~-._?")
    return WebAddress(split.scheme, host, port, urlunsplit(("", "", path, query, "")))


def follow(address: WebAddress, location: str, own: frozenset[str] = frozenset()) -> WebAddress:
    """Read the target of a redirect from `address`. Raises BadImage as `parse` does."""
    try:
        target = urljoin(address.url, location)
    except ValueError:
        raise BadImage("the address redirects to something that is no address") from None
    return parse(target, own)


def public(address: str) -> bool:
    """Whether an IP address, in any of its notations, is on the public internet."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(_public(layer) for layer in _layers(parsed))


def _split(url: str) -> SplitResult:
    if len(url) > MOST_CHARACTERS:
        raise BadImage(f"the address is longer than {MOST_CHARACTERS} characters")
    # urlsplit drops tabs and line ends silently, and browsers read a backslash as a slash: they would see another host.
    if not url or "\\" in url or any(character <= " " or character == "\x7f" for character in url):
        raise BadImage("the address has blanks, control characters or backslashes in it, or is empty")
    try:
        return urlsplit(url)
    except ValueError:
        raise BadImage("this is not an address in a valid form") from None


def _host(split: SplitResult) -> str:
    try:
        name = split.hostname or ""
        host = name if name.isascii() else _ascii(name)
    except (ValueError, UnicodeError):
        raise BadImage("the address has no host in a valid form") from None
    host = host.lower()
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            raise BadImage("the address has no host in a valid form") from None
    if _NUMBER_LIKE.fullmatch(host):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            # C libraries read 2130706433, 0x7f.1 and 0177.0.0.1 as addresses, each in its own way.
            raise BadImage("write a numeric address as four decimal numbers, like 192.0.2.1") from None
    if not _HOST_NAME.fullmatch(host):
        raise BadImage("the address has no host in a valid form")
    return host


def _ascii(name: str) -> str:
    """A host name as DNS has it, by IDNA 2008 as browsers do: `faß.de` is xn--fa-hia.de, not fass.de.

    Names that IDNA 2008 does not allow but browsers do (with an emoji) follow IDNA 2003. Raises UnicodeError.
    """
    try:
        return idna.encode(name, uts46=True).decode()
    except idna.IDNAError:
        return name.encode("idna").decode()


def _layers(address: IpAddress) -> list[IpAddress]:
    """The address, and the addresses that it contains."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _TRANSLATED or address in _COMPATIBLE:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    # A mapped address is an IPv4 address in another notation. The other forms must be public themselves, too.
    outer: list[IpAddress] = [] if address.ipv4_mapped or address in _TRANSLATED else [address]
    return outer + [layer for layer in inner if layer is not None]


def _public(address: IpAddress) -> bool:
    if address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address not in _ALLOCATED:
        return False
    return address.is_global and not any(address in block for block in SPECIAL)
