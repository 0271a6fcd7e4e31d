"""Media types: which one an answer has, and which one a body has (RFC 9110, sections 8.3 and 12.5.1)."""

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from multidict import CIMultiDictProxy

TYPE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+/[!#$%&'*+.^_`|~0-9a-z-]+", re.ASCII)
QUALITY: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", re.ASCII)


class MediaType(StrEnum):
    """What an answer to an operation may be."""

    JSON = "application/json"
    """For clients that know nothing of the other one. Every well-formed request is answered 200, whatever is wrong."""
    GRAPHQL = "application/graphql-response+json"
    """The status says whether the operation was carried out."""
    EVENTS = "text/event-stream"
    """Answers one after the other: see graph/sse.py."""


ANSWERS: Final = (MediaType.JSON, MediaType.GRAPHQL)
"""What an ordinary operation may be answered with. To clients that leave it open, the first one."""
ANY: Final = (*ANSWERS, MediaType.EVENTS)
"""Clients that take both name JSON first for queries and mutations, and get that."""


class Range(NamedTuple):
    """A media type, or several: one element of `Accept`, or the whole of `Content-Type`."""

    name: str
    """Such as `application/json`, `application/*`, `*/*`; in lower case."""
    charset: str = "utf-8"
    quality: float = 1.0

    @classmethod
    def of(cls, text: str) -> "Range | None":
        """The range in a text; None if it is malformed."""
        name, *rest = (part.strip() for part in _split(text, ";"))
        parameters = dict(_parameters(rest))
        quality = parameters.get("q", "1")
        if not TYPE.fullmatch(name.lower()) or not QUALITY.fullmatch(quality):
            return None
        return cls(name.lower(), parameters.get("charset", "utf-8").lower(), float(quality))

    @property
    def is_utf8(self) -> bool:
        """Whether it leaves the text in UTF-8, which is all that we read and write."""
        return self.charset in {"utf-8", "utf8"}

    def closeness(self, media_type: str) -> int:
        """How closely it names a media type: 3 by its name, down to 1 for `*/*`; 0 if it does not mean it."""
        if not self.is_utf8:
            return 0
        kind = media_type.partition("/")[0]
        return {media_type: 3, f"{kind}/*": 2, "*/*": 1}.get(self.name, 0)


def accepted(headers: CIMultiDictProxy[str], offered: Sequence[MediaType] = ANSWERS) -> MediaType | None:
    """Which of the offered media types a client likes best; None if it takes none of them.

    The closest element of `Accept` decides how much a type is liked. Of those liked equally, the client's own order
    decides, and then ours.
    """
    given = headers.getall("Accept", None)
    return _accepted(", ".join(given), tuple(offered)) if given else offered[0]


@lru_cache(maxsize=256)
def _accepted(accept: str, offered: Sequence[MediaType]) -> MediaType | None:
    if not accept.strip():
        return offered[0]
    ranges = [found for part in _split(accept, ",") if (found := Range.of(part))]
    best = max(offered, key=lambda one: _liking(one, ranges))
    return best if _liking(best, ranges)[0] else None


def _liking(media_type: MediaType, ranges: Sequence[Range]) -> tuple[float, int]:
    """How much a type is liked, 0 if it is not taken, and how early that is said."""
    place, closest = max(enumerate(ranges), key=lambda one: one[1].closeness(media_type), default=(0, None))
    if closest is None or not closest.closeness(media_type):
        return 0.0, 0
    return closest.quality, -place


def content_type(headers: CIMultiDictProxy[str]) -> Range | None:
    """The media type of a body; None if there is none, or none that can be understood."""
    return _content_type(", ".join(headers.getall("Content-Type", ())))


@lru_cache(maxsize=256)
def _content_type(given: str) -> Range | None:
    return Range.of(given)


def _parameters(parts: Sequence[str]) -> Iterator[tuple[str, str]]:
    for part in filter(None, parts):
        name, _, value = part.partition("=")
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:].removesuffix('"'))
        yield name.strip().lower(), value.strip()


def _split(text: str, separator: str) -> list[str]:
    """The parts of a header's value, whose quoted texts may hold the separator."""
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
