"""What a client is called where its owner sees it, such as `Firefox on Linux`, by its User-Agent header.

A header is a hint: any client may send any. The name has printable ASCII of a known form only, so that it can be shown
anywhere, and the header itself is not kept.
"""

import re
from typing import Final

UNKNOWN: Final = "Unknown device"

# Browsers name those that they descend from too, so the descendants come first.
_BROWSERS: Final = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("HeadlessChrome", "Chrome"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)
_SYSTEMS: Final = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
)
_PRODUCT: Final = re.compile(r"([A-Za-z][A-Za-z0-9._-]{0,39})(?:/|\s|$)", re.ASCII)
_READ_CHARACTERS: Final = 512


def device_of(user_agent: str | None) -> str:
    """The name of a client by its User-Agent header."""
    text = (user_agent or "")[:_READ_CHARACTERS]
    browser = next((name for token, name in _BROWSERS if re.search(rf"\b{token}\w*/", text)), None)
    system = next((name for token, name in _SYSTEMS if token in text), None)
    if browser is not None:
        return f"{browser} on {system}" if system else browser
    product = _PRODUCT.match(text)
    if product is None:
        return system or UNKNOWN
    if product[1] == "Mozilla":  # every browser begins with it
        return f"Browser on {system}" if system else UNKNOWN
    return f"{product[1]} on {system}" if system else product[1]
