"""Blocks of addresses that no photo comes from: special ones by IANA's registries, and those of cloud platforms."""

from __future__ import annotations

from ipaddress import ip_network

# IANA IPv4 and IPv6 Special-Purpose Address Registries (www.iana.org/assignments/iana-ipv4-special-registry and
# iana-ipv6-special-registry), all rows, as of this date. Blocks that are globally reachable are refused too: what
# answers there is a router, a relay or a name server. Left out: ::ffff:0:0/96 and 64:ff9b::/96, which stand for IPv4
# addresses that are checked themselves.
REGISTRY_DATE = "2026-07-18"
REGISTRY = """
0.0.0.0/8            this network
10.0.0.0/8           private use
100.64.0.0/10        shared address space
127.0.0.0/8          loopback
169.254.0.0/16       link local
172.16.0.0/12        private use
192.0.0.0/24         IETF protocol assignments, 192.0.0.8 to 10, 170 and 171 among them
192.0.2.0/24         documentation
192.31.196.0/24      AS112-v4
192.52.193.0/24      AMT
192.88.99.0/24       6to4 relay anycast, deprecated
192.168.0.0/16       private use
192.175.48.0/24      direct delegation AS112 service
198.18.0.0/15        benchmarking
198.51.100.0/24      documentation
203.0.113.0/24       documentation
240.0.0.0/4          reserved
255.255.255.255/32   limited broadcast
::1/128              loopback
::/128               unspecified
64:ff9b:1::/48       IPv4-IPv6 translation, local
100::/64             discard only
100:0:0:1::/64       dummy prefix
2001::/23            IETF protocol assignments, Teredo, benchmarking and ORCHID among them
2001:db8::/32        documentation
2002::/16            6to4
2620:4f:8000::/48    direct delegation AS112 service
3fff::/20            documentation
5f00::/16            segment routing
fc00::/7             unique local
fe80::/10            link local
"""

# Services of cloud platforms that a machine there reaches at addresses of the public internet.
PLATFORMS_DATE = "2026-11-29"
PLATFORMS = """
168.63.129.16/32     Azure: name server, health probe and guest agent
161.26.0.0/16        IBM Cloud: name servers and other services
166.8.0.0/14         IBM Cloud: service endpoints
199.36.153.4/30      Google Cloud: restricted.googleapis.com
199.36.153.8/30      Google Cloud: private.googleapis.com
"""

SPECIAL = tuple(ip_network(line.split()[0]) for line in (REGISTRY + PLATFORMS).split("\n") if line)
