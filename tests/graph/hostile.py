"""Hostile values, texts and bodies, as Hypothesis strategies."""

import gzip
import json
import os
import zlib
from typing import Any, Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", "0"))
"""How many random examples of each kind; 0 for a few fixed ones."""


def bounded(examples: int) -> settings:
    """Run this number of fixed examples, or as many random ones as FUZZ_EXAMPLES says."""
    return settings(
        max_examples=EXAMPLES or examples,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


CHARACTERS: Final = st.one_of(
    st.characters(),
    st.characters(categories=["Cc", "Cf", "Cs", "Co", "Mn"]),
    st.sampled_from("\x00\"'\\%_$.{}[]<>\u202e"),
)
WORDS: Final = st.sampled_from(
    [
        "' OR 1=1 --",
        "%s %(x)s {0} ${x}",
        "$where",
        "$gt",
        "a.$b",
        "__proto__",
        "../../../etc/passwd",
        "\x00",
        "a" * 5_000,
        "\u00e9" * 300,
        "\U0001f600" * 100,
        "e" + "\u0301" * 200,
        "\u0130\u0131\ufb00\u1e9e",
        "\ud800",
        "\udc00\ud800",
        "-1",
        "1e999",
        "NaN",
        "null",
        "9" * 4_400,
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59.999999-14:00",
        "2026-02-30T00:00:00Z",
        "urn:uuid:00000000-0000-0000-0000-000000000000",
        "9223372036854775807",
        "18446744073709551616",
        "<script>alert(1)</script>",
    ]
)
TEXTS: Final = st.one_of(st.text(CHARACTERS, max_size=30), WORDS)
SMALL: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**31, -(2**31) - 1, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400, 1e308, 5e-324, -0.0]),
    st.floats(),
    TEXTS,
)
VALUES: Final = st.recursive(
    SMALL, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)), max_leaves=8
)
"""Whatever Python's `json` can write, which is more than JSON."""
UNICODE: Final = TEXTS.map(lambda text: text.encode(errors="replace").decode()[:300])
"""Texts that JSON can carry."""
NUMBERS: Final = st.one_of(st.integers(-(2**64), 2**64), st.floats(allow_nan=False, allow_infinity=False))
JSON: Final = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, UNICODE),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(UNICODE, inner, max_size=4)),
    max_leaves=8,
)
"""Values that JSON can carry."""
ENCODINGS: Final = st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7"])


@st.composite
def encoded(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> bytes:
    """A value as JSON in some encoding, escaped or not."""
    text = json.dumps(draw(values), ensure_ascii=draw(st.booleans()))
    return text.encode(draw(ENCODINGS), errors="surrogatepass")


@st.composite
def nested(draw: st.DrawFn) -> bytes:
    """Brackets in brackets, closed or not, by themselves or as the variables of a query."""
    opening, closing = draw(st.sampled_from([("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")]))
    depth = draw(st.sampled_from([10, 100, 500, 1_000, 3_000]))
    text = opening * depth + draw(st.sampled_from(["", "1" + closing * depth, "[]" + closing * depth]))
    return draw(
        st.sampled_from(["%s", '{"query": "{__typename}", "variables": {"a": %s}}', '{"query": %s}'])
    ).encode() % (text.encode())


@st.composite
def repeated(draw: st.DrawFn) -> bytes:
    """An object whose keys come more than once."""
    pairs = draw(st.lists(st.tuples(st.sampled_from(["query", "variables", "a"]), SMALL), max_size=6))
    return ("{" + ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in pairs) + "}").encode()


@st.composite
def spoilt(draw: st.DrawFn, texts: list[str]) -> str:
    """One of these texts, with something cut out, put in or doubled."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 20)))
        text = text[:start] + draw(st.one_of(TEXTS, st.just(text[start:end] * 2), st.just(""))) + text[end:]
    return text


def packed(body: bytes, coding: str) -> bytes:
    """A body in a Content-Encoding; in one that we cannot write, as it is."""
    if coding == "gzip":
        return gzip.compress(body, mtime=0)
    return zlib.compress(body) if coding == "deflate" else body
