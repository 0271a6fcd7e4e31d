"""Targets: a webhook reaches public addresses only, however the address is written."""

from ipaddress import ip_address

import pytest

from projections.webhooks.targets import InvalidTarget, PrivateAddress, PublicResolver, checked_url, is_public

PRIVATE = (
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",  # a cloud's metadata
    "100.64.0.1",
    "0.0.0.0",  # noqa: S104 - refused
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fd00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "2002:7f00:1::",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
)


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_of_the_internet_is_not_public(address: str) -> None:
    """Also one that is embedded in another."""
    assert not is_public(ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(InvalidTarget):
        checked_url(f"https://{host}/hook", private=False)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.com/hook", "begins with https://"),
        ("ftp://example.com/hook", "begins with https://"),
        ("https:///hook", "begins with https://"),
        ("example.com/hook", "begins with https://"),
        ("", "begins with https://"),
        ("https://me:secret@example.com/", "user or a password"),
        ("https://me@example.com/", "user or a password"),
        ("https://example.com/#part", "fragment"),
        ("https://localhost/", "this machine"),
        ("https://api.localhost./", "this machine"),
        ("https://example.com:99999/", "such as"),
        ("https://example.com/" + "x" * 2_048, "2048 characters"),
    ],
)
def test_a_url_that_requests_may_not_go_to_is_refused(url: str, reason: str) -> None:
    """With the reason."""
    with pytest.raises(InvalidTarget, match=reason):
        checked_url(url, private=False)


def test_private_addresses_and_http_can_be_allowed() -> None:
    assert checked_url("http://127.0.0.1:3000/hook", private=True) == "http://127.0.0.1:3000/hook"


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f000001", "127.1"])
async def test_a_name_that_resolves_to_a_private_address_is_refused(host: str) -> None:
    """Also a number that the system's resolver reads as an address."""
    with pytest.raises(PrivateAddress, match="is not a public address"):
        await PublicResolver().resolve(host, 443)
