"""The client's address and scheme, from the connection, X-Forwarded-For and X-Forwarded-Proto.

Only entries that our own proxies have appended are true. So the header is read from its right end, as long as the entry
was written by one of our proxies. The first address that is not a proxy is the client's; the entries to its left may be
forged.
"""

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

CUSTOMER_BITS: Final = 64
"""The prefix of an IPv6 address that a provider assigns to one customer (RFC 6177)."""
NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
"""Addresses of IPv4 clients in a network of IPv6 (RFC 6052). In one /64 they would all be one client."""

# Some proxies append the port: 203.0.113.7:4711, [2001:db8::7]:4711.
_WITH_PORT = re.compile(r"(?P<v4>[0-9.]+):[0-9]+|\[(?P<v6>[0-9A-Fa-f:.]+)\](?::[0-9]+)?")


def client_address(peer: str | None, forwarded: Sequence[str], proxies: Sequence[Network]) -> str:
    """The client's network: an IPv4 address, or the /64 of an IPv6 address; empty if unknown.

    Args:
        peer: The other end of the connection; None if it has no address.
        forwarded: The X-Forwarded-For headers, in their order.
        proxies: Our own proxies.
    """
    client = _parsed(peer or "")
    entries = [entry for header in forwarded for entry in header.split(",")]
    while client is not None and entries and any(client in network for network in proxies):
        entry = _parsed(entries.pop())
        if entry is None:
            break
        client = entry
    if isinstance(client, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((client, CUSTOMER_BITS), strict=False))
    return str(client) if client else ""


def came_by_https(peer: str | None, forwarded: Sequence[str], proxies: Sequence[Network]) -> bool:
    """Whether the proxy that sent a request says that the client used https.

    Args:
        peer: The other end of the connection; None if it has no address.
        forwarded: The X-Forwarded-Proto headers, in their order. The last entry is that of the nearest proxy.
        proxies: Our own proxies.
    """
    proxy = _parsed(peer or "")
    if proxy is None or not any(proxy in network for network in proxies):
        return False
    return ",".join(forwarded).rpartition(",")[2].strip().lower() == "https"


@lru_cache(maxsize=256)
def _parsed(text: str) -> IPAddress | None:
    text = text.strip()
    ported = _WITH_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address((ported["v4"] or ported["v6"]) if ported else text.partition("%")[0])
    except ValueError:
        return None
    if address in NAT64:
        return ipaddress.IPv4Address(address.packed[-4:])
    return getattr(address, "ipv4_mapped", None) or address
