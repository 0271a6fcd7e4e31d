"""A session's owner recognises the device; no header makes its name anything but a short plain text."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.devices import UNKNOWN, device_of

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
AGENTS = {
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0": "Firefox on Linux",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/140.0.0.0 Safari/537.36": "Chrome on Windows",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/140.0.0.0 Safari/537.36 Edg/140.0": "Edge on Windows",
    f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/140.0.0.0 Safari/537.36": "Chrome on Linux",
    f"Mozilla/5.0 (Linux; Android 14; K) {WEBKIT} Chrome/140.0.0.0 Mobile Safari/537.36": "Chrome on Android",
    f"Mozilla/5.0 (Linux; Android 14; K) {WEBKIT} SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36": (
        "Samsung Internet on Android"
    ),
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Chrome/140.0.0.0 Safari/537.36 OPR/120.0": (
        "Opera on macOS"
    ),
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 "
    "Mobile/15E148 Safari/604.1": "Safari on iPhone",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/140.0 "
    "Mobile/15E148 Safari/604.1": "Chrome on iPhone",
    f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/140.0.0.0 Safari/537.36": "Chrome on ChromeOS",
    "curl/8.5.0": "curl",
    "python-httpx/0.28.1": "python-httpx",
    "Python/3.12 aiohttp/3.14.0": "Python",
    "Mozilla/5.0 (Windows NT 10.0)": "Browser on Windows",
    "Mozilla/5.0": UNKNOWN,
    "": UNKNOWN,
    "<script>alert(1)</script>": UNKNOWN,
}


@pytest.mark.parametrize(("user_agent", "device"), AGENTS.items())
def test_common_clients_are_named(user_agent: str, device: str) -> None:
    """As people call them: the browser or program, and the system."""
    assert device_of(user_agent) == device


def test_a_client_without_a_name_is_unknown() -> None:
    """No header at all."""
    assert device_of(None) == UNKNOWN


@given(st.text() | st.from_regex(r"\A[A-Za-z]{1,60}/.* (Firefox|Chrome|Linux|Android|iPad).*\Z"))
def test_any_header_gives_a_short_plain_name(user_agent: str) -> None:
    """Letters, digits and a few marks: safe in any page, log or mail."""
    device = device_of(user_agent)

    assert 0 < len(device) <= 64
    assert set(device) <= set(string.ascii_letters + string.digits + " ._-")
