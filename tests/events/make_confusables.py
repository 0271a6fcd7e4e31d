"""Make `events/confusables.txt` from Unicode's confusables.txt (UTS 39), which unicode.org publishes.

    python -m tests.events.make_confusables confusables.txt > events/confusables.txt

Kept are the characters that a cleaned username can hold in NFD; signs of ASCII are never sources. Two kinds of targets
change, because in the data one letter stands for several signs of ASCII: `rn` is m, and l for a capital is I.
"""

import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

HEADER = """\
# Characters that look alike: each line has a character, or several, and then those that look like it, as code points.
# Made by tests/events/make_confusables.py from the confusables of Unicode {version}, UTS 39.
# Copyright Unicode, Inc.; see confusables.LICENSE.
"""


def rows(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The source and the target of each row of Unicode's file."""
    for line in lines:
        fields = line.lstrip("\ufeff").partition("#")[0].split(";")
        if len(fields) == 3:
            source, target = ("".join(chr(int(code, 16)) for code in field.split()) for field in fields[:2])
            yield source, target


def table(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The lines of our file."""
    sources = defaultdict(list)
    for source, target in pairs:
        shown = unicodedata.category(source)[0] in "LMNC"  # C: not assigned yet, as far as this Python knows
        if source.isascii() or not shown or unicodedata.normalize("NFKC", source) != source:
            continue
        capital = target == "l" and unicodedata.category(source) == "Lu"
        sources["I" if capital else target.replace("rn", "m")].append(source)
    for target in sorted(sources):
        codes = " ".join(f"{ord(source):04X}" for source in sorted(sources[target]))
        yield f"{' '.join(f'{ord(character):04X}' for character in target)}; {codes}\n"


def main() -> None:
    """Write the file to standard output."""
    text = Path(sys.argv[1]).read_text(encoding="utf-8-sig")
    version = re.search(r"^# Version: ([\d.]+)", text, re.MULTILINE)
    if version is None:
        raise SystemExit(f"{sys.argv[1]} does not name its version: expected Unicode's confusables.txt")
    sys.stdout.write(HEADER.format(version=version[1]))
    sys.stdout.writelines(table(rows(text.splitlines())))


if __name__ == "__main__":
    main()
