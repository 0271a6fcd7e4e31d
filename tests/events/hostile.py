"""Usernames, emails and names that nobody means well with, as Hypothesis draws them."""

import operator
from typing import Final

from hypothesis import strategies as st

characters: Final = st.one_of(
    st.characters(codec="utf-8"),
    st.characters(codec="utf-8", categories=["Lo", "Lm", "Mn", "Nd", "Cf"]),
    st.characters(codec="utf-8", categories=["Ll", "Lu", "Lt"]),
    # Signs that normalisation makes or takes apart, letters that grow without case, joiners, jamo, and lookalikes.
    st.sampled_from(
        "@\uff20\ufe6b.-aA\u0410\u0430\u00df\u1e9e\u03a3\u03c2\u0130\u0131\u017f\u212a\u212b\u0149\u01f0\u0390\u1fb7"
        "\u0345\u0301\u0307\u0338\u0958\u0929\u094d\u200c\u200d\ufe0f\U000e0102\uac00\u1112\u1161\u11ab\u3164\u00b7\u0660"
    ),
)
texts: Final = st.one_of(
    st.text(characters, max_size=12),
    st.builds(operator.mul, st.text(characters, min_size=1, max_size=3), st.integers(20, 210)),
)
ids: Final = st.builds(
    lambda made, form: form(made),
    st.uuids(),
    st.sampled_from(
        [
            str,
            lambda made: made.hex.upper(),
            lambda made: f"{{{made}}}",
            lambda made: made.urn,
            lambda made: str(made).translate({ord(digit): chr(ord(digit) + 0xFEE0) for digit in "0123456789abcdef"}),
        ]
    ),
)
domains: Final = st.builds(
    "{}.{}".format,
    st.text(characters, min_size=1, max_size=8),
    st.sampled_from(["example", "xn--bcher-kva", "\u5e7f\u544a"]),
)
emails: Final = st.builds("{}@{}".format, texts, domains)
