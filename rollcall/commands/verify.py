"""`rollcall verify`: compares the views with the log, or verifies the log itself."""

import secrets
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, NoReturn
from uuid import UUID

import typer

from events.chain import Head
from events.signed_heads import parse_public_key
from projections.comparison import NO_END, Difference
from projections.verification import Repair, Tally, VerificationRun
from rollcall import exits
from rollcall.commands.log import SignedHeadsFile, verify_chain
from rollcall.console import (
    Advance,
    Json,
    ViewName,
    note,
    progress,
    run,
    say,
    say_json,
    settings_for,
)
from rollcall.differences import as_json, as_text, masked
from rollcall.settings import Settings
from rollcall.wiring import open_installation, prepare_log

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def verify(
    view: Annotated[ViewName | None, typer.Argument(help="The view. Default: both.")] = None,
    verify_log: Annotated[
        bool,
        typer.Option("--log", help="Verify the log instead: its positions, its hash chain, its head, keys and claims."),
    ] = False,
    expect: Annotated[
        str,
        typer.Option(
            metavar="POSITION:HASH",
            help="With --log: an earlier output of `rollcall head`, which the log must contain.",
        ),
    ] = "",
    against: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --log: signed heads of `rollcall heads`, which the log must contain."),
    ] = None,
    public_key: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="With --against: output of `rollcall heads --public-key`. Repeatable."),
    ] = None,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="With --log: the log was restored without keys and claims.")
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Write the users that differ again from the log, then compare again. With --log: write the claims.",
        ),
    ] = False,
    user: Annotated[UUID | None, typer.Option(metavar="ID", help="Compare only this user.")] = None,
    sample: Annotated[str, typer.Option(metavar="SHARE", help="Compare only a share of the users, such as 1%.")] = "",
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**64 - 1, help="Seed of the sample. The same seed selects the same users."),
    ] = None,
    show_values: Annotated[
        bool, typer.Option("--show-values", help="Print personal values, which are masked by default.")
    ] = False,
    as_json_: Json = False,
) -> None:
    """Compare the views with the log, user by user and field by field, and print each difference.

    All processes may keep running. Finds missing, changed and unknown rows and documents, wrong indexes and
    checkpoints, and in MongoDB also wrong history, search words, tokens and tombstones. Compares a view that is behind
    the log as of its checkpoint. Exit code 1: a difference was found and not repaired.

    With --log the command verifies the hash chain of the log instead, and prints the first position that is not as it
    was written. Then it verifies that a user's key is gone if and only if the log deletes the user, and that the claims
    are what the log adds up to; --repair makes the claims so, and does nothing if the chain is broken. Exit code 3: the
    log is broken, or a key or a claim is wrong and not repaired.
    """
    if verify_log:
        others: list[object] = [view, user, sample, show_values, repair and without_keys]
        signed = _signed_heads(against, public_key or [])
        _verify_log(expect, others, as_json=as_json_, with_keys=not without_keys, against=signed, repair=repair)
    if expect or without_keys or against or public_key:
        hint = "--expect, --without-keys, --against, --public-key"
        raise typer.BadParameter("only together with --log", param_hint=hint)
    if user is not None and sample:
        raise typer.BadParameter("use only one of the two", param_hint="--user, --sample")
    wanted = VerifyOptions(
        views=tuple(ViewName) if view is None else (view,),
        user=user,
        share=_share(sample),
        seed=secrets.randbits(32) if seed is None else seed,
        repair=repair,
        show_values=show_values,
        as_json=as_json_,
    )
    run(_verify(settings_for("verify"), wanted))


def _signed_heads(against: Path | None, public_keys: Sequence[str]) -> SignedHeadsFile | None:
    if (against is None) != (not public_keys):
        raise typer.BadParameter("use both or neither", param_hint="--against, --public-key")
    try:
        keys = [parse_public_key(text) for text in public_keys]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--public-key") from error
    return None if against is None else SignedHeadsFile(against, keys)


def _verify_log(
    expect: str,
    others: list[object],
    *,
    as_json: bool,
    with_keys: bool,
    against: SignedHeadsFile | None,
    repair: bool,
) -> NoReturn:
    if any(others):
        raise typer.BadParameter(
            "goes only with --expect, --against, --public-key, --json, and --without-keys or --repair",
            param_hint="--log",
        )
    try:
        mark = Head.parse(expect) if expect else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--expect") from error
    run(
        verify_chain(settings_for("verify"), mark, as_json=as_json, with_keys=with_keys, against=against, repair=repair)
    )


def _share(text: str) -> float | None:
    """The share of the users, between 0 and 1, that a percentage gives."""
    if not text:
        return None
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not text.endswith("%") or not 0 < share <= 1:
        raise typer.BadParameter(f"expected a percentage such as 1%, found {text!r}", param_hint="--sample")
    return share


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """Selects what to verify and how to print differences."""

    views: tuple[str, ...]
    user: UUID | None
    share: float | None
    seed: int
    repair: bool
    show_values: bool
    as_json: bool


async def _verify(settings: Settings, options: VerifyOptions) -> int:
    def show(difference: Difference) -> None:
        shown = difference if options.show_values else masked(difference)
        say(as_json(shown).decode() if options.as_json else as_text(shown))

    async with open_installation(settings, note) as installation:
        await prepare_log(installation)
        known = options.user is None or await installation.store.read_streams([options.user], up_to=NO_END)
        with ExitStack() as bars:

            def stage(title: str, unit: str) -> Advance:
                bars.close()
                return bars.enter_context(progress(title, unit))

            verification = VerificationRun(
                installation.log_access,
                [installation.records[name] for name in options.views],
                show,
                stage,
                Repair(installation.store) if options.repair else None,
            )
            if options.user is not None:
                await verification.user(options.user)
            elif options.share is not None:
                await verification.sample(options.share, options.seed)
            else:
                await verification.all_users(settings.rebuild_memory_bytes)
    tallies = verification.tallies.values()
    if not known and not any(tally.differences for tally in tallies):
        note(f"error: neither the log nor a view has a user {options.user}")
        return exits.BAD_INPUT
    for tally in tallies:
        _print_tally(tally, options)
    return exits.NOT_ALL if any(tally.left for tally in tallies) else exits.OK


def _print_tally(tally: Tally, options: VerifyOptions) -> None:
    if options.as_json:
        seed = {} if options.share is None else {"seed": options.seed}
        say_json({"kind": "summary", **asdict(tally), **seed})
        return
    chosen = "" if options.share is None else f" (seed {options.seed})"
    repaired = f", {tally.differences - tally.left} repaired" if options.repair and tally.differences else ""
    held = f", {tally.quarantined} in quarantine and not compared" if tally.quarantined else ""
    say(
        f"{tally.view}: {tally.looked_at} users compared{chosen}, {tally.differences} differences "
        f"of {tally.differing_users} users{repaired}{held}; the view is at position {tally.checkpoint} of {tally.head}"
    )
