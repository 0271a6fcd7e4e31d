"""Report all benchmarks: tables on the terminal, and docs/benchmarks.md with its charts."""

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
from benchmarks.publishing import Publishing
from benchmarks.webhooks import Published

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "benchmarks.md"
DRAWN: Final = PAGE.parent / "benchmarks"
RATES: Final = ("what", "a second", "compared with", "a second", "ratio", "notes")
APART: Final = "\n## Measured apart\n"
"""From this title on the page is written by hand, and kept."""
WIDTH: Final = 120
"""Characters per line of the page."""
LABEL: Final = 12
"""Characters per line of a label below a group of bars."""
INTRODUCTION: Final = """# Benchmarks

*Written by `make bench` up to [measured apart](#measured-apart), which is written by hand.* {machine}, {day}.

All figures are from one run on one machine. Databases, program, rivals and clients share its processors, so **compare
the ratios**: each is the median of several rounds, which alternate what is compared. Durability is as in production
(`innodb_flush_log_at_trx_commit=1`, `sync_binlog=1`, `w: majority`), with sealing, hash chain and claims.
"""


@dataclass(frozen=True, slots=True)
class Section:
    """One benchmark in the report."""

    title: str
    limits: str
    """What is compared, and what limits the rate."""
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    chart: str | None = None
    """File name of the chart in docs/benchmarks."""

    def markdown(self) -> str:
        """The section as Markdown."""
        ruler = [" --- "] * len(self.header)
        table = [_line(self.header), f"|{'|'.join(ruler)}|", *map(_line, self.rows)]
        drawn = [f"![{self.title}](benchmarks/{self.chart})", ""] if self.chart else []
        return "\n".join([f"## {self.title}", "", *drawn, *table, "", fill(self.limits, WIDTH, break_on_hyphens=False)])

    def table(self) -> Table:
        """The section as a table for the terminal."""
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
            "one by one": [(one.at, one.others["one by one"]) for one in registrations],
            "eventsourcing": [(one.at, one.others["eventsourcing"]) for one in registrations],
        },
    )
    return Section(
        "Appending",
        "A registration is four rows in three tables, a change is one. *Raw* is one connection that sends prepared "
        "statements and does nothing else. *eventsourcing* is the recorder of that library alone, without sealing, "
        "chain or claims. The limit: with few callers the disk's sync; with many the one Python process, which needs "
        "about as long for an append as the server.",
        RATES,
        rates(found),
        "append.svg",
    )


def competing(found: list[Measured]) -> Section:
    """Several processes that append."""
    return Section(
        "Several processes that append",
        "The limit: one transaction at a time holds the head row, from its first read to its COMMIT. docs/scaling.md "
        "says what to do beyond that.",
        RATES,
        rates(found),
    )


def long_streams(found: list[Measured]) -> Section:
    """A user with many events."""
    return Section(
        "A user with a long history",
        "A command reads what follows the last event of the user that the process knows; the account is read from its "
        "snapshot on, which is at most 50 events or 256 KiB old. The last line is what it would cost to read the whole "
        "stream.",
        RATES,
        rates(found),
    )


def publishing(found: Published) -> Section:
    """Webhooks beside the client that sends them."""
    return Section(
        "Webhooks",
        f"From the acknowledgement of a change to its message, at 500 changes a second: {found.p50:.0f} ms (median), "
        f"{found.p99:.0f} ms (99 %). The rival sends the same bodies, with as many requests at a time, and nothing "
        "else. The limit: the Python of this process; each message is queued and recorded as a row, and signed.",
        RATES,
        rates([found.rate]),
    )


def rebuilding(found: list[Measured]) -> Section:
    """Rebuilds against their parts, and catching up against rebuilds."""
    paged = [(one, one.others["page by page"]) for one in found]
    caught_up = [
        Measured(one.what.replace("rebuild", "catch up"), rate, one.what, one.rate, rate / one.rate)
        for one, rate in paged
    ]
    charts.bars(
        DRAWN / "rebuild.svg",
        "Rebuilding: events a second",
        "events a second",
        [one.what for one in found],
        {
            "page by page": [rate for _, rate in paged],
            "rebuild": [one.rate for one in found],
            "the limit: no objects, no fold": [one.limit_rate for one in found],
            "only writing": [one.others["only writing"] for one in found],
            "only reading": [one.others["only reading"] for one in found],
        },
    )
    return Section(
        "Rebuilding",
        "A rebuild reads the log, folds it, writes each user once, indexes, compares everything with the log and "
        "swaps. The limit holds what no program can leave out, one after the other: fetching the rows of the log "
        "without making objects of them, opening the seals, one typed decoding of the personal data, and writing the "
        "final rows or documents, encoded in advance, with their indexes. Folding and comparing cost nothing there. A "
        "projector that catches up writes each change of a user and not each user once.",
        RATES,
        rates([*found, *caught_up]),
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
        "Each reads through an index whose depth grows with the logarithm; beyond the buffer pool (256 MB here) a "
        "random read goes to the disk's cache. A random page of a long log costs more mostly because of its user "
        "keys: a process remembers 50,000 and unwraps each other one again, in about 10 us. Of the 500 events of such "
        "a page, that was so for 375 in a log of a million, and for none in a log of ten thousand.",
        RATES,
        rates(found),
        "growth.svg",
    )


def objects(found: list[Measured]) -> Section:
    """Very many data objects."""
    return Section(
        "Data objects",
        "`OBJECTS=1000000 make bench` measures a million objects of 10,000 owners. Lists and searches ask for pages of "
        "20, one after the other, and are compared with reading 20 objects by their ids; rebuilds with reading and "
        "decoding the log. The limit: a round trip, then decoding in this process.",
        RATES,
        rates(found),
    )


def imports(found: list[Measured]) -> Section:
    """Very many users from a file."""
    return Section(
        "Importing",
        "`IMPORT_ROWS=1000000 make bench` imports a million rows. `rollcall import` is killed by SIGKILL when half of "
        "them are in, and run again. Then rows that are there are brought up to date: unchanged, and with other names. "
        "Each run is compared with registrations before and after it. The limit: the Python of one process, which "
        "reads and checks a row besides registering its user, and folds a user besides changing it.",
        RATES,
        rates(found),
    )


def asking(found: list[Measured]) -> Section:
    """GraphQL compared with stock Strawberry and plain handlers."""
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
            "stock Strawberry": [of[one, plain].ratio / of[one, stock].ratio for one in questions],
        },
    )
    return Section(
        "GraphQL",
        "All three servers check the same token and read the same rows. *stock Strawberry* has the same "
        "resolvers and Strawberry's defaults; *plain aiohttp* has one handler per query, which returns the same JSON.",
        RATES,
        rates(found),
        "graphql.svg",
    )


def hashing(found: list[Measured]) -> Section:
    """Registration and sign-in compared with argon2."""
    return Section(
        "Signing in",
        "The limit is argon2, on purpose. The event loop's lag is measured inside the server meanwhile: passwords are "
        "hashed on threads, one per core.",
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
        "At rest a follower polls slowly, which delays the first event after the rest; under load it polls quickly. "
        "An append wakes the change feed of its own process at once.",
        ("seen by", "load", "p50 ms", "p99 ms"),
        [[one.where, one.load, f"{one.p50:.1f}", f"{one.p99:.1f}"] for one in found],
        "freshness.svg",
    )


def publishing_rates(found: Publishing) -> Section:
    """Kafka."""
    return Section(
        "Publishing in Kafka",
        "Each event is two messages with eight headers, in transactions of 500 events. The limit: librdkafka's "
        f"producer with the same {found.megabytes:.0f} MB of messages and the same transactions, sent from memory. "
        "Lag is the time from the acknowledgement of an append until a reader of committed messages has its message.",
        ("events a second", "librdkafka alone", "ratio", "lag at 500/s, p50 ms", "p99 ms"),
        [
            [
                f"{found.published:,.0f}",
                f"{found.sent:,.0f}",
                f"{found.ratio:.2f}",
                f"{found.lag.p50:.1f}",
                f"{found.lag.p99:.1f}",
            ]
        ],
    )


def fanning_out(found: list[FanOut]) -> Section:
    """Thousands of subscribers."""
    return Section(
        "Fan-out",
        "Subscribers are WebSocket clients in processes of their own. Stopped ones read nothing until the last change "
        "is made, and must receive everything after that. Processor time and memory are those of all processes of the "
        "API. The limit: the cores, which API, clients, MySQL and the writer share.",
        (
            "subscribers",
            "changes a second",
            "processes",
            "stopped",
            "received everything in order",
            "stopped ones, later",
            "p50 ms",
            "p99 ms",
            "server's µs per message",
            "MB",
            "grown by",
        ),
        [
            [
                f"{one.crowd.subscribers:,}",
                str(one.crowd.rate),
                str(one.crowd.workers),
                str(one.crowd.stopped),
                f"{one.whole:,} of {one.crowd.subscribers - one.crowd.stopped:,}",
                f"{one.caught_up} of {one.crowd.stopped}",
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
    """Print all sections and write the page."""
    console = Console(width=160)
    for section in sections:
        console.print(section.table(), "", soft_wrap=True)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    introduction = INTRODUCTION.format(machine=machine, day=date.today().isoformat())  # noqa: DTZ011 - the local date
    _, title, apart = PAGE.read_text().partition(APART)
    written = "\n\n".join([introduction.rstrip(), *(section.markdown() for section in sections)])
    PAGE.write_text(f"{written}\n{title}{apart}")
    console.print(f"{machine}; written to {PAGE.relative_to(ROOT)}")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
