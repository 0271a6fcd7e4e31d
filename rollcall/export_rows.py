"""Cells of CSV that a spreadsheet does not take for formulas."""

from typing import Final

FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - full-width signs count too


def harmless(text: str) -> str:
    """The text, with a `'` in front if a spreadsheet would calculate it (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
