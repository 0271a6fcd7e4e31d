"""The client's address: from the connection and from entries of our own proxies only."""

from ipaddress import ip_network

import pytest

from auth.addresses import client_address

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),
        ("10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        ("10.0.0.1", ["198.51.100.1, 203.0.113.7, 10.0.0.2,10.0.0.3"], "203.0.113.7"),
        ("fd00::1", ["203.0.113.7"], "203.0.113.7"),
        ("::ffff:10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.7, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.7, "], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, nonsense, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["203.0.113.7:4711"], "203.0.113.7"),
        ("10.0.0.1", ["[2001:db8:1:2:3:4:5:6]:4711"], "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3:4:5:6", [], "2001:db8:1:2::/64"),
        ("fe80::1%eth0", [], "fe80::/64"),
        ("::ffff:203.0.113.7", [], "203.0.113.7"),
        ("64:ff9b::203.0.113.7", [], "203.0.113.7"),
        (None, ["203.0.113.7"], ""),
        ("", [], ""),
    ],
)
def test_the_header_is_read_from_its_right_end(peer: str | None, forwarded: list[str], client: str) -> None:
    """As long as the writer is our proxy; entries further left may be forged."""
    assert client_address(peer, forwarded, PROXIES) == client


def test_without_proxies_nobody_is_believed() -> None:
    """Any client can send the header."""
    assert client_address("10.0.0.1", ["203.0.113.7"], ()) == "10.0.0.1"


def test_addresses_of_one_customer_are_one() -> None:
    """A customer has 2 to the 64th addresses."""
    first, second, other = (
        client_address(address, [], ()) for address in ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1")
    )

    assert first == second != other
