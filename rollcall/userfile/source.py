"""Where a file's text comes from: a path, a pipe or standard input, in UTF-8, UTF-16 or a named encoding.

A file is read twice: once to refuse it as a whole, once for its rows. So a pipe is copied to a file without a name
first, which is gone when the process ends, however it ends.
"""

import codecs
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, TextIO

from rollcall.userfile.rows import UserFileError

STANDARD_INPUT: Final = Path("-")
BLOCK: Final = 1 << 20
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class Source:
    """A file that can be opened several times."""

    path: Path
    name: str
    """What messages call it."""
    encoding: str
    size: int
    """Bytes."""
    copy: BinaryIO | None = field(default=None, repr=False)
    """The copy of a pipe, open for as long as the source is used."""

    def open(self, newline: str | None) -> TextIO:
        """Open the text."""
        return self.path.open(encoding=self.encoding, newline=newline)

    @contextmanager
    def named_errors(self) -> Iterator[None]:
        """Turn the errors of reading into UserFileError."""
        try:
            yield
        except OSError as error:
            raise UserFileError(f"{self.name} cannot be read: {error.strerror or error}") from error
        except UnicodeError as error:
            raise UserFileError(f"{self.name} changed while it was read, and is no longer {self.encoding}") from error


def open_source(path: Path, encoding: str | None = None) -> Source:
    """The source at a path, `-` being standard input. Its whole text is decoded once.

    Raises UserFileError: it cannot be read, or is in another encoding.
    """
    name = "standard input" if path == STANDARD_INPUT else str(path)
    try:
        copy = _copy_of_pipe(path, name)
        path = path if copy is None else Path(f"/proc/self/fd/{copy.fileno()}")
        source = Source(path, name, _encoding(path, encoding), path.stat().st_size, copy)
        _check_text(source, given=encoding is not None)
    except OSError as error:
        raise UserFileError(f"{name} cannot be read: {error.strerror or error}") from error
    return source


def bounded_lines(file: TextIO, longest: int) -> Iterator[str]:
    """The lines of a text. Of one that is too long come `longest` characters and one more; the rest is lost."""
    while line := file.readline(longest + 1):
        yield line
        while len(line) > longest and line[-1] not in "\r\n":
            line = file.readline(BLOCK) or "\n"


def _copy_of_pipe(path: Path, name: str) -> BinaryIO | None:
    if path != STANDARD_INPUT:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return None
        if not stat.S_ISFIFO(mode):
            raise UserFileError(f"{name} is not a file: expected a file, a pipe, or - for standard input")
    with open(0, "rb", closefd=False) if path == STANDARD_INPUT else path.open("rb") as pipe:
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - its source closes it
        shutil.copyfileobj(pipe, copy, BLOCK)
    copy.flush()
    return copy


def _encoding(path: Path, given: str | None) -> str:
    """The encoding that is given, that of the byte order mark, or UTF-16 if every second byte is 0; else UTF-8."""
    if given is not None:
        return _named_encoding(given)
    with path.open("rb") as file:
        head = file.read(256)
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if len(head) >= 4 and head[1] == head[3] == 0 != head[0]:
        return "utf-16-le"
    if len(head) >= 4 and head[0] == head[2] == 0 != head[1]:
        return "utf-16-be"
    return "utf-8"


def _named_encoding(name: str) -> str:
    try:
        found = codecs.lookup(name)
        "".encode(found.name)  # raises LookupError for what is no encoding of text, such as base64
    except (LookupError, ValueError):
        raise UserFileError(
            f"--encoding {name!r:.40} is not known: expected utf-8, utf-16, cp1252 (Excel in western Europe), "
            "cp1250 (central Europe), latin-1, mac-roman, shift_jis or another name that Python knows"
        ) from None
    return "utf-8-sig" if found.name == "utf-8" else found.name


def _check_text(source: Source, *, given: bool) -> None:
    decoder = codecs.getincrementaldecoder(source.encoding)()
    line = 1
    with source.path.open("rb") as file:
        while True:
            block = file.read(BLOCK)
            try:
                line += decoder.decode(block, final=not block).count("\n")
            except UnicodeError as error:
                raise UserFileError(_wrong_encoding(source, error, line, given=given)) from error
            if not block:
                return


def _wrong_encoding(source: Source, error: UnicodeError, line: int, *, given: bool) -> str:
    if given or not isinstance(error, UnicodeDecodeError) or not source.encoding.startswith("utf-8"):
        return f"{source.name} is not {source.encoding}: save it as UTF-8, or name its encoding with --encoding"
    bad = error.object[error.start : error.start + 1]
    line += error.object[: error.start].count(b"\n")
    return (
        f"{source.name} is not UTF-8: line {line} has the byte 0x{bad.hex()}; name its encoding, which for a file that "
        f"Excel saved in western Europe is --encoding cp1252, or save it as 'CSV UTF-8'"
    )
