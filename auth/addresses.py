"""Where a request comes from, as far as that can be believed.

Anybody can write an X-Forwarded-For header. What a proxy of ours has appended to it is true: so the header is read from
its right end, for as long as the one who wrote the entry is one of our proxies. The first address that is none of them
is the client's; whatever stands left of it, the client may have made up.
"""

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

CUSTOMER_BITS: Final = 64
"""Of an IPv6 address: what a provider gives to one customer, who may use any address in it (RFC 6177)."""

# Some proxies write the port as well: 203.0.113.7:4711, [2001:db8::7]:4711.
_WITH_PORT = re.compile(r"(?P<v4>[0-9.]+):[0-9]+|\[(?P<v6>[0-9A-Fa-f:.]+)\](?::[0-9]+)?")


def client_address(peer: str | None, forwarded: Sequence[str], proxies: Sequence[Network]) -> str:
    """The client's network, which stands for the client: an IPv4 address, the first half of an IPv6 one.

    Args:
        peer: The other end of the connection; None if it has no address.
        forwarded: The X-Forwarded-For headers, in their order.
        proxies: Our own proxies. Nobody else is believed.
    """
    client = _parsed(peer or "")
    entries = [entry for header in forwarded for entry in header.split(",")]
    while client is not None and entries and any(client in network for network in proxies):
        entry = _parsed(entries.pop())
        if entry is None:
            break
        client = entry
    return _customer(client)


@lru_cache(maxsize=256)
def _parsed(text: str) -> IPAddress | None:
    text = text.strip()
    ported = _WITH_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address((ported["v4"] or ported["v6"]) if ported else text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _customer(address: IPAddress | None) -> str:
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, CUSTOMER_BITS), strict=False))
    return str(address) if address else ""
