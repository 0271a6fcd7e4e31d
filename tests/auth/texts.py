"""Texts that the tests of passwords draw."""

from hypothesis import strategies as st

any_text = st.text(st.characters() | st.sampled_from("\ud800\udfff\0é①"))
"""Half surrogate pairs and NULs included, and often."""
