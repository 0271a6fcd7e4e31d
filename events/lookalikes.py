"""Skeletons after UTS 39: texts that look alike have one skeleton.

`confusables.txt` is made from Unicode's data by `tests/events/make_confusables.py`. Signs of ASCII stand for
themselves, so that no name of ASCII is taken for another. The right-to-left part of the algorithm is left out, because
no username has both directions.
"""

import re
import unicodedata
from pathlib import Path
from typing import Final

JOINERS: Final = re.compile("[\u200c\u200d]")
"""The only characters without a look of their own that a username can hold."""
DOTTED: Final = re.compile("(?<=[ij\u0131\u0237])\u0307")
"""A second dot, which is drawn over the first."""


def _prototypes() -> dict[int, str]:
    lines = Path(__file__).with_name("confusables.txt").read_text("ascii").splitlines()
    pairs = (line.split(";") for line in lines if not line.startswith("#"))
    return {
        int(source, 16): "".join(chr(int(code, 16)) for code in target.split())
        for target, sources in pairs
        for source in sources.split()
    }


PROTOTYPES: Final = _prototypes()
"""The characters that stand for those that look like them, by code point."""


def skeleton(text: str) -> str:
    """The skeleton of a text; only for comparison with others."""
    decomposed = DOTTED.sub("", JOINERS.sub("", unicodedata.normalize("NFD", text)))
    return unicodedata.normalize("NFD", decomposed.translate(PROTOTYPES))
