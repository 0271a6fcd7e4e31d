"""`rollcall projector`: keep one view up to date with the log."""

import gc

import structlog
import typer

from projections.lease import LEASE_SECONDS
from rollcall import exits
from rollcall.console import ViewArgument, run, settings_for
from rollcall.metrics import Metrics
from rollcall.serving import measured, report
from rollcall.settings import Settings
from rollcall.stopping import Background
from rollcall.wiring import (
    COLLECT_SELDOM,
    continuous_check_of,
    open_installation,
    prepare_log,
    projector_of,
    when_available,
)

app = typer.Typer(rich_markup_mode=None, add_completion=False)
log = structlog.get_logger(__name__)


@app.command()
def projector(view: ViewArgument) -> None:
    """Keep one view up to date with the log, until SIGINT or SIGTERM.

    You may run several projectors of one view. One is active and the others stand by. If the active one ends, hangs or
    loses MySQL, another takes over within 5 s. Waits for databases that are away. Exit code 3: the view is FAULTED;
    `rollcall status` shows the error.
    """
    run(project(settings_for(f"projector-{view}"), view), when_stopped=exits.OK)


async def project(settings: Settings, view: str) -> int:
    """Run the projector and the continuous check of one view, until cancelled.

    Raises:
        BadSettings: a variable is invalid.
        Exception: a fault that a retry does not repair; the view is FAULTED.
    """
    gc.set_threshold(*COLLECT_SELDOM)
    metrics = Metrics()
    async with (
        open_installation(settings, report, idle_seconds=LEASE_SECONDS) as installation,
        measured(installation, metrics),
    ):
        await when_available(lambda: prepare_log(installation))
        projector = projector_of(installation, view, metrics.applied(installation.views[view].name))
        check = continuous_check_of(installation, view, projector)
        async with Background("projector", 4.0) as working:
            working.start("continuous check", check.run())
            working.start("projector", projector.run())
            await working.ended()
    return exits.OK
