"""What commands say: results on standard output, everything else on standard error."""

import sys

import msgspec
from rich.console import Console


def say(line: str, *, at_once: bool = False) -> None:
    """A line of the result; at once, for whoever waits for it while the command goes on."""
    sys.stdout.write(f"{line}\n")
    if at_once:
        sys.stdout.flush()


def say_json(value: object, *, at_once: bool = False) -> None:
    """A line of the result as JSON."""
    say(msgspec.json.encode(value).decode(), at_once=at_once)


def note(line: str) -> None:
    """Something on the way, or why it did not go as it was asked for."""
    sys.stderr.write(f"{line}\n")


def result_console() -> Console:
    """Standard output, for tables: as wide as the terminal; a file takes lines of any length."""
    return Console() if sys.stdout.isatty() else Console(width=1_000)
