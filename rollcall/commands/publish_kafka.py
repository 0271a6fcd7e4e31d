"""`rollcall publish kafka` and `rollcall publish forget`."""

from typing import Annotated

import typer

from projections.lease import LEASE_SECONDS
from projections.publications.kafka import Start
from projections.status import PUBLICATIONS, remove_publication
from rollcall import exits
from rollcall.console import note, run, say, settings_for
from rollcall.metrics import Metrics
from rollcall.publications import kafka_cluster, kafka_publication
from rollcall.serving import measured, report
from rollcall.settings import BadSettings, Settings
from rollcall.stopping import Background
from rollcall.wiring import open_installation, prepare_log, projector_on, when_available


def kafka(
    snapshot: Annotated[
        bool, typer.Option("--snapshot", help="First send the state of every user and data object, then go on.")
    ] = False,
    from_position: Annotated[
        int | None,
        typer.Option("--from-position", min=0, metavar="POSITION", help="Publish the events after POSITION again."),
    ] = None,
) -> None:
    """Publish each change in Kafka, until SIGINT or SIGTERM.

    Readers with isolation.level=read_committed get each change exactly once, and the changes of one user or data object
    in order. You may run several publishers: one is active and the others stand by. Waits for brokers and databases
    that are away.

    A first start without --snapshot publishes the log from its first event. With --snapshot it publishes the present
    users and objects, and events from then on. An interrupted snapshot goes on at the next start without --snapshot.

    Exit code 2: a setting is invalid. Exit code 3: the publication is FAULTED, for instance because a right or a topic
    is missing; `rollcall status` shows the error.
    """
    if snapshot and from_position is not None:
        raise typer.BadParameter("use only one of the two", param_hint="--snapshot, --from-position")
    start = Start(snapshot=snapshot, position=from_position) if snapshot or from_position is not None else None
    run(publish_kafka(settings_for("publish-kafka"), start), when_stopped=exits.OK)


async def publish_kafka(settings: Settings, start: Start | None) -> int:
    """Run the publication until cancelled.

    Raises:
        BadSettings: a variable is invalid.
        Exception: a fault that a retry does not repair; the publication is FAULTED.
    """
    if start is not None and start.snapshot and settings.kafka_content == "thin":
        raise BadSettings("ROLLCALL_KAFKA_CONTENT: --snapshot sends states, which are published with `full` only")
    metrics = Metrics()
    async with (
        kafka_cluster(settings, report) as cluster,
        open_installation(settings, report, idle_seconds=LEASE_SECONDS) as installation,
        measured(installation, metrics),
    ):
        await when_available(lambda: prepare_log(installation))
        publication = kafka_publication(installation, cluster, start=start)
        projector = projector_on(installation, publication, metrics.applied(publication.name))
        try:
            async with Background("publisher", 4.0) as working:
                working.start("publisher", projector.run())
                await working.ended()
        finally:
            publication.close()
    return exits.OK


def forget(name: Annotated[str, typer.Argument(help="Name of the publication, as in the status.")]) -> None:
    """Remove a publication that you no longer run from the status and the metrics.

    Its messages and its checkpoint stay where they are. A publication that still runs reports again within a second.
    Exit code 2: there is no such publication.
    """
    run(_forget(settings_for("publish-forget"), name))


async def _forget(settings: Settings, name: str) -> int:
    async with open_installation(settings, note) as installation:
        await prepare_log(installation)
        if name not in PUBLICATIONS or not await remove_publication(installation.database, name):
            note(f"error: no publication {name!r} has a status; nothing was done")
            return exits.BAD_INPUT
    say(f"{name} is no longer in the status")
    return exits.OK
