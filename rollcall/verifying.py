"""`rollcall verify`: the views against the log."""

from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Self
from uuid import UUID

from projections.differences import Difference
from projections.repair import Repair
from projections.verification import Tally, Verification
from rollcall import exits
from rollcall.differences import as_json, as_text, masked
from rollcall.house import House, open_house
from rollcall.output import note, say, say_json
from rollcall.progress import Advance, progress
from rollcall.settings import Settings


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be verified, and how it is told."""

    views: tuple[str, ...]
    user: UUID | None = None
    share: float | None = None
    seed: int = 0
    repair: bool = False
    show_values: bool = False
    as_json: bool = False


async def verify_views(settings: Settings, wanted: Wanted) -> int:
    """`rollcall verify`, without `--log`."""
    async with open_house(settings, note) as house:
        await house.prepare_log()
        known = wanted.user is None or (await house.store.read_stream(wanted.user)).events
        with _Stages() as stages:
            tallies = await _verify(house, wanted, stages)
    if not known and not any(tally.differences for tally in tallies):
        note(f"error: neither the log nor a view knows a user {wanted.user}")
        return exits.BAD_INPUT
    for tally in tallies:
        _tell_tally(tally, wanted)
    return exits.NOT_ALL if any(tally.left for tally in tallies) else exits.OK


async def _verify(house: House, wanted: Wanted, stages: "_Stages") -> Collection[Tally]:
    def tell(difference: Difference) -> None:
        shown = difference if wanted.show_values else masked(difference)
        say(as_json(shown).decode() if wanted.as_json else as_text(shown))

    run = Verification(
        house.log_access,
        [house.records[name] for name in wanted.views],
        tell,
        stages,
        Repair(house.store) if wanted.repair else None,
    )
    if wanted.user is not None:
        await run.user(wanted.user)
    elif wanted.share is not None:
        await run.sample(wanted.share, wanted.seed)
    else:
        await run.everybody(house.settings.rebuild_memory_bytes)
    return run.tallies.values()


class _Stages:
    """A progress bar for each stage, the one before it ended."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, title: str, unit: str) -> Advance:
        self._stack.close()
        return self._stack.enter_context(progress(title, unit))


def _tell_tally(tally: Tally, wanted: Wanted) -> None:
    if wanted.as_json:
        seed = {} if wanted.share is None else {"seed": wanted.seed}
        say_json({"kind": "summary", **asdict(tally), **seed})
        return
    chosen = "" if wanted.share is None else f" (seed {wanted.seed})"
    mended = f", {tally.differences - tally.left} mended" if wanted.repair and tally.differences else ""
    held = f", {tally.quarantined} in quarantine and not compared" if tally.quarantined else ""
    say(
        f"{tally.view}: {tally.looked_at} users looked at{chosen}, {tally.differences} differences "
        f"of {tally.differing_users} users{mended}{held}; the view is at position {tally.checkpoint} of {tally.head}"
    )
