"""Media types of answers and bodies: `Accept` and `Content-Type` (RFC 9110, sections 12.5.1 and 8.3)."""

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from multidict import CIMultiDictProxy

TYPE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+/[!#$%&'*+.^_`|~0-9a-z-]+", re.ASCII)
QUALITY: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", re.ASCII)


class MediaType(StrEnum):
    """The media type of an answer to an operation."""

    JSON = "application/json"
    """For older clients. Every well-formed request gets 200, whatever is wrong with its operation."""
    GRAPHQL = "application/graphql-response+json"
    """The status says whether the operation was executed."""
    EVENTS = "text/event-stream"
    """A stream of answers."""


ANSWERS: Final = (MediaType.JSON, MediaType.GRAPHQL)
"""Media types of a single answer; the first is the default."""
ANY: Final = (*ANSWERS, MediaType.EVENTS)
"""Clients that accept both name JSON first for queries and mutations."""


HTML: Final = "text/html"


class MediaRange(NamedTuple):
    """One element of `Accept`, or the whole of `Content-Type`."""

    name: str
    """Such as `application/json`, `application/*` or `*/*`, in lower case."""
    charset: str = "utf-8"
    quality: float = 1.0

    @classmethod
    def of(cls, text: str) -> "MediaRange | None":
        """Parse a text; None if it is malformed."""
        name, *rest = (part.strip() for part in _split(text, ";"))
        parameters = dict(_parameters(rest))
        quality = parameters.get("q", "1")
        if not TYPE.fullmatch(name.lower()) or not QUALITY.fullmatch(quality):
            return None
        return cls(name.lower(), parameters.get("charset", "utf-8").lower(), float(quality))

    @property
    def is_utf8(self) -> bool:
        """Whether the text is in UTF-8, the only encoding that is read and written."""
        return self.charset in {"utf-8", "utf8"}

    def closeness(self, media_type: str) -> int:
        """How closely it matches a media type: 3 by name, 2 by kind, 1 for `*/*`, 0 if it does not."""
        if not self.is_utf8:
            return 0
        kind = media_type.partition("/")[0]
        return {media_type: 3, f"{kind}/*": 2, "*/*": 1}.get(self.name, 0)


def accepted(headers: CIMultiDictProxy[str], offered: Sequence[MediaType] = ANSWERS) -> MediaType | None:
    """The offered media type that a client prefers; None if it accepts none of them.

    The closest element of `Accept` decides the quality of a type. Among equals the client's order decides, then ours.
    """
    given = headers.getall("Accept", None)
    return _accepted(", ".join(given), tuple(offered)) if given else offered[0]


@lru_cache(maxsize=256)
def _accepted(accept: str, offered: Sequence[MediaType]) -> MediaType | None:
    if not accept.strip():
        return offered[0]
    ranges = [found for part in _split(accept, ",") if (found := MediaRange.of(part))]
    best = max(offered, key=lambda one: _preference(one, ranges))
    return best if _preference(best, ranges)[0] else None


def _preference(media_type: str, ranges: Sequence[MediaRange]) -> tuple[float, int]:
    """The quality of a type, 0 if it is not accepted, and how early in `Accept` it is."""
    place, closest = max(enumerate(ranges), key=lambda one: one[1].closeness(media_type), default=(0, None))
    if closest is None or not closest.closeness(media_type):
        return 0.0, 0
    return closest.quality, -place


def prefers_html(headers: CIMultiDictProxy[str]) -> bool:
    """Whether a client asks for HTML by name and likes JSON no better, as browsers do that open a page."""
    ranges = [found for part in _split(", ".join(headers.getall("Accept", ())), ",") if (found := MediaRange.of(part))]
    html, _ = _preference(HTML, ranges)
    named = any(one.closeness(HTML) > 1 for one in ranges)
    return named and html > 0 and html >= _preference(MediaType.JSON, ranges)[0]


def content_type(headers: CIMultiDictProxy[str]) -> MediaRange | None:
    """The media type of a body; None if it is missing or malformed."""
    return _content_type(", ".join(headers.getall("Content-Type", ())))


@lru_cache(maxsize=256)
def _content_type(given: str) -> MediaRange | None:
    return MediaRange.of(given)


def _parameters(parts: Sequence[str]) -> Iterator[tuple[str, str]]:
    for part in filter(None, parts):
        name, _, value = part.partition("=")
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:].removesuffix('"'))
        yield name.strip().lower(), value.strip()


def _split(text: str, separator: str) -> list[str]:
    """Split a header's value, except inside quoted strings."""
    if '"' not in text:
        return text.split(separator)
    parts, start, quoted, escaped = [], 0, False, False
    for place, character in enumerate(text):
        if escaped:
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == separator and not quoted:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]
