"""Where requests of webhooks may go: to public addresses only, unless the operator allows others.

An administrator chooses the URL and learns whether the request succeeded, so without a check the publisher would be a
way into the operator's own network (server-side request forgery). A host name is resolved once for each connection,
and the connection goes to what was checked: a name that resolves to a public address first and to a private one a
moment later gains nothing. Redirects are not followed, and the environment's proxies are not used.
"""

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

URL_CHARACTERS: Final = 2_048
EMBEDDING: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("::/96"))
"""Networks whose addresses stand for the IPv4 address in their last four bytes: translated ones (RFC 6052), and the
deprecated IPv4-compatible ones."""


class InvalidTarget(ValueError):
    """A URL to which requests may not go; the message says why."""


class PrivateAddress(OSError):
    """A host name resolves to an address that requests may not go to."""

    def __init__(self, host: str, address: str) -> None:
        super().__init__(f"{host} resolves to {address}, which is not a public address")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether the address belongs to the internet, by IANA's registries; of an address that embeds IPv4, that one."""
    if isinstance(address, IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if embedded is None and any(address in network for network in EMBEDDING):
            embedded = IPv4Address(int(address) & 0xFFFF_FFFF)
        if embedded is not None:
            return is_public(embedded)
    return address.is_global and not address.is_multicast


def checked_url(text: str, *, private: bool) -> str:
    """The URL in its normal form. With `private`, private addresses and plain HTTP are allowed.

    Raises:
        InvalidTarget: requests may not go there.
    """
    if len(text) > URL_CHARACTERS:
        raise InvalidTarget(f"expected at most {URL_CHARACTERS} characters, found {len(text)}")
    try:
        url = URL(text)
        host = url.host
        port = url.port
    except ValueError as error:
        raise InvalidTarget(f"expected a URL such as https://example.com/hook: {error}") from error
    if url.scheme not in (("https", "http") if private else ("https",)) or not host or port is None:
        raise InvalidTarget("expected a URL that begins with https://" + (" or http://" if private else ""))
    if url.user is not None or url.password is not None:
        raise InvalidTarget("a URL with a user or a password is refused: use a path that cannot be guessed")
    if url.fragment:
        raise InvalidTarget("a URL with a fragment, after #, is refused: it would not be sent")
    if not private and (host.rstrip(".") == "localhost" or host.rstrip(".").endswith(".localhost")):
        raise InvalidTarget(f"{host} is this machine: expected a public address")
    literal = literal_address(host)
    if literal is not None and not private and not is_public(literal):
        raise InvalidTarget(f"{host} is not a public address")
    return str(url)


def literal_address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is written as; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


class PublicResolver(AbstractResolver):
    """Resolves host names, and refuses those with an address that is not public.

    One such address refuses the name, also beside public ones: a client tries them in any order. A host that is written
    as an address does not come here; `checked_url` checks it.
    """

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name.

        Raises:
            PrivateAddress: one of them is not public.
            OSError: the name cannot be resolved.
        """
        found = await self._resolver.resolve(host, port, family)
        for result in found:
            if not is_public(ip_address(result["host"].partition("%")[0])):
                raise PrivateAddress(host, result["host"])
        return found

    async def close(self) -> None:
        await self._resolver.close()
