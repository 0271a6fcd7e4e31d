"""One report of all benchmarks: tables on the terminal, and docs/benchmarks.md with its charts."""

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from textwrap import fill
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks import charts
from benchmarks.fanout import FanOut
from benchmarks.freshness import Freshness
from benchmarks.measure import Measured

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "benchmarks.md"
DRAWN: Final = PAGE.parent / "benchmarks"
RATES: Final = ("what", "a second", "beside it", "a second", "ratio", "and")
LABEL: Final = 12
"""Characters a line below a group of bars."""
INTRODUCTION: Final = """# Benchmarks

*Written by `make bench`; do not edit.* {machine}, {day}.

Everything was measured in one run on one machine, on which the databases, the program, its rivals and whoever asks
them share the processors. So **take the ratios**: each compares two things that ran in turn, and is the median of the
ratios of several rounds. Everything is as durable as in production (`innodb_flush_log_at_trx_commit=1`,
`sync_binlog=1`, `w: majority`), sealed, chained and claimed.
"""


@dataclass(frozen=True, slots=True)
class Section:
    """One benchmark in the report."""

    title: str
    limits: str
    """What is compared with what, and what limits it."""
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    chart: str | None = None
    """The file name of its chart, which lies beside the page."""

    def markdown(self) -> str:
        """The section as the page has it."""
        ruler = [" --- "] * len(self.header)
        table = [_line(self.header), f"|{'|'.join(ruler)}|", *map(_line, self.rows)]
        drawn = [f"![{self.title}](benchmarks/{self.chart})", ""] if self.chart else []
        return "\n".join([f"## {self.title}", "", *drawn, *table, "", self.limits])

    def table(self) -> Table:
        """The section as a terminal shows it."""
        table = Table(*self.header, box=None, title=self.title, title_justify="left")
        for row in self.rows:
            table.add_row(*row)
        return table


def rates(found: Iterable[Measured]) -> list[list[str]]:
    """Rows under `RATES`."""
    return [
        [one.what, f"{one.rate:,.0f}", one.limit, f"{one.limit_rate:,.0f}", f"{one.ratio:.2f}", one.note]
        for one in found
    ]


def appending(found: list[Measured]) -> Section:
    """Appends by callers."""
    registrations = [one for one in found if one.what.startswith("register")]
    charts.lines(
        DRAWN / "append.svg",
        "Appends a second, by how many callers wait at once",
        "callers",
        "appends a second",
        {
            "change a user": [(one.at, one.rate) for one in found if one not in registrations],
            "register a user": [(one.at, one.rate) for one in registrations],
            "one by one": [(one.at, one.beside["one by one"]) for one in registrations],
            "eventsourcing": [(one.at, one.beside["eventsourcing"]) for one in registrations],
        },
    )
    return Section(
        "Appending",
        "A registration is four rows in three tables, a change is one. *Raw* is one connection that sends prepared\n"
        "statements and thinks of nothing. *eventsourcing* is the recorder of that library alone: it seals, chains\n"
        "and claims nothing. What limits: with few callers the disk's sync; with many the one Python process, which\n"
        "spends about as long on an append as the server does.",
        RATES,
        rates(found),
        "append.svg",
    )


def competing(found: list[Measured]) -> Section:
    """Several processes that append."""
    return Section(
        "Several processes that append",
        "They take turns at the row that orders the log. What limits: one transaction at a time holds it, from its\n"
        "reading to its COMMIT; docs/scaling.md says what to do past that.",
        RATES,
        rates(found),
    )


def long_streams(found: list[Measured]) -> Section:
    """A user with many events."""
    return Section(
        "A user with a long history",
        "A command reads and folds the user's whole stream. The difference is the most that a snapshot could save.",
        RATES,
        rates(found),
    )


def rebuilding(found: list[Measured]) -> Section:
    """Rebuilds against their parts."""
    charts.bars(
        DRAWN / "rebuild.svg",
        "Rebuilding: events a second",
        "events a second",
        [one.what for one in found],
        {
            "page by page": [one.beside["page by page"] for one in found],
            "rebuild": [one.rate for one in found],
            "its parts, one after the other": [one.limit_rate for one in found],
            "only writing": [one.beside["only writing"] for one in found],
            "only reading": [one.beside["only reading"] for one in found],
        },
    )
    return Section(
        "Rebuilding",
        "The rebuild reads the log, folds it, writes each user once, indexes, compares all of it with the log and\n"
        "swaps. Its limit is reading and writing the same, one after the other, as if folding and comparing cost\n"
        "nothing. What limits: writing and indexing in the database; for MongoDB the documents, which are made twice,\n"
        "to be written and to be compared.",
        RATES,
        rates(found),
        "rebuild.svg",
    )


def growing(found: list[Measured]) -> Section:
    """Cost against the length of the log."""
    names = list(dict.fromkeys(one.what.partition(",")[0] for one in found))
    charts.lines(
        DRAWN / "growth.svg",
        "What a longer log costs: rate, as a share of that on the shortest",
        "events in the log",
        "of the rate on 10,000 events",
        {name: [(one.at, one.ratio) for one in found if one.what.startswith(name + ",")] for name in names},
    )
    return Section(
        "Against the length of the log",
        "Each reads through an index whose depth grows with the logarithm; past the buffer pool (256 MB here) a\n"
        "random read goes to the disk's cache. What makes a random page of a long log dearer is mostly its users'\n"
        "keys: a process remembers 50,000, and unwraps each of the others anew, which takes about 10 us. Of the\n"
        "500 events of such a page on a million, that was so for 375, and on ten thousand for none.",
        RATES,
        rates(found),
        "growth.svg",
    )


def asking(found: list[Measured]) -> Section:
    """GraphQL beside stock Strawberry and plain handlers."""
    questions = list(dict.fromkeys(one.what for one in found))
    of = {(one.what, one.limit): one for one in found}
    stock, plain = dict.fromkeys(one.limit for one in found)
    charts.bars(
        DRAWN / "graphql.svg",
        "GraphQL: requests a second, as a share of plain handlers",
        "of plain aiohttp",
        [question.partition(" (p99")[0] for question in questions],
        {
            "Rollcall": [of[one, plain].ratio for one in questions],
            "Strawberry as it comes": [of[one, plain].ratio / of[one, stock].ratio for one in questions],
        },
    )
    return Section(
        "GraphQL",
        "All three servers check the same token and read the same rows. *Strawberry as it comes* has the same\n"
        "resolvers; *plain aiohttp* has a handler for each question that returns the same JSON.",
        RATES,
        rates(found),
        "graphql.svg",
    )


def hashing(found: list[Measured]) -> Section:
    """Registration and sign-in beside argon2."""
    return Section(
        "Signing in",
        "What limits is argon2, by intent. The event loop's lag is measured inside the server meanwhile: hashes are\n"
        "made on threads, of which there are as many as cores.",
        RATES,
        rates(found),
    )


def fresh(found: list[Freshness]) -> Section:
    """From commit to view and subscriber."""
    charts.bars(
        DRAWN / "freshness.svg",
        "From acknowledgement to seen",
        "milliseconds",
        [fill(f"{one.where.removeprefix('a ')}, {one.load}", LABEL) for one in found],
        {"p50": [one.p50 for one in found], "p99": [one.p99 for one in found]},
        scale="log",
    )
    return Section(
        "Freshness",
        "Idle, a follower polls slowly and pays for that once, with the first event after a rest; under load it polls\n"
        "quickly. The subscriber of the same process is rung for.",
        ("seen by", "load", "p50 ms", "p99 ms"),
        [[one.where, one.load, f"{one.p50:.1f}", f"{one.p99:.1f}"] for one in found],
        "freshness.svg",
    )


def fanning_out(found: list[FanOut]) -> Section:
    """A thousand subscribers."""
    return Section(
        "Fan-out",
        "Subscribers over WebSockets in processes of their own; the stopped ones read nothing until the last change\n"
        "is made, and must have heard everything after that. What limits: the one core that the server has beside\n"
        "its clients, MySQL and whoever makes the changes.",
        (
            "subscribers",
            "stopped",
            "heard everything in order",
            "stopped ones, later",
            "p50 ms",
            "p99 ms",
            "server's µs for each",
            "MB",
            "grown by",
        ),
        [
            [
                f"{one.listeners:,}",
                str(one.stopped),
                f"{one.whole:,} of {one.listeners - one.stopped:,}",
                f"{one.caught_up} of {one.stopped}",
                f"{one.p50:.0f}",
                f"{one.p99:.0f}",
                f"{one.microseconds:.1f}",
                f"{one.memory:.0f}",
                f"{one.grown:.0f}",
            ]
            for one in found
        ],
    )


def publish(sections: Sequence[Section]) -> None:
    """Print all, and write the page."""
    console = Console(width=160)
    for section in sections:
        console.print(section.table(), "", soft_wrap=True)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    introduction = INTRODUCTION.format(machine=machine, day=date.today().isoformat())  # noqa: DTZ011 - of whoever runs it
    PAGE.write_text("\n\n".join([introduction.rstrip(), *(section.markdown() for section in sections)]) + "\n")
    console.print(f"{machine}; written to {PAGE.relative_to(ROOT)}")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
