"""The status of views and publications, for those who operate them."""

from datetime import datetime
from typing import Annotated, Self

import strawberry

from graph.context import Info
from graph.relay import page_size
from graph.scalars import Position, State
from projections.quarantine import Quarantined
from projections.status import ProjectionStatus

DEFAULT_QUARANTINED = 20

MostUsers = Annotated[int | None, strawberry.argument(description="How many users, at most 100.")]


@strawberry.type(description="A user whose events a view holds back, because one of them cannot be applied.")
class QuarantinedUser:
    user_id: strawberry.ID = strawberry.field(description="The user.")
    position: Position = strawberry.field(description="Of the event that cannot be applied.")
    reason: str = strawberry.field(description="Why it cannot be applied.")

    @classmethod
    def of(cls, source: Quarantined) -> Self:
        return cls(user_id=strawberry.ID(str(source.user_id)), position=Position(source.position), reason=source.reason)


@strawberry.type(description="What the continuous check, which compares some users at a time with the log, has found.")
class Verification:
    checked_at: datetime = strawberry.field(description="When its last round ended.")
    users_checked: int = strawberry.field(
        description="Users compared since its process began; one that was compared twice counts twice."
    )
    differences: int = strawberry.field(description="Users that differed from the log when they were last compared.")


async def _quarantine(info: Info, root: "Projection", first: MostUsers = DEFAULT_QUARANTINED) -> list[QuarantinedUser]:
    count = page_size(first, "first", DEFAULT_QUARANTINED)
    read = info.context.services.quarantines.get(root.name)
    if read is None or not root.quarantined:
        return []
    held = [one for one in await read() if not one.dropped]
    return [QuarantinedUser.of(one) for one in sorted(held, key=lambda one: -one.position)[:count]]


@strawberry.type(description="The state of one view of the users, or of one publication.")
class Projection:
    name: str = strawberry.field(
        description="mysql_users, mongo_users, or the name of a publication: kafka, webhooks, mail."
    )
    state: State = strawberry.field(description="What the projection is doing.")
    position: Position = strawberry.field(description="The last event in the view.")
    head: Position = strawberry.field(description="The last event in the log.")
    lag: int = strawberry.field(description="Events behind the head of the log.")
    lag_seconds: float = strawberry.field(description="Age of the oldest event that the view lacks.")
    events_per_second: float = strawberry.field(description="Events applied a second, over the last seconds.")
    quarantined: int = strawberry.field(description="Users in quarantine because of events that cannot be applied.")
    rebuild_progress: float | None = strawberry.field(description="Between 0 and 1 while a rebuild runs, else null.")
    last_error: str | None = strawberry.field(
        description="What the projector is waiting for or stopped at, or why a rebuild has failed."
    )
    updated_at: datetime | None = strawberry.field(description="When its projector last reported.")
    active: bool = strawberry.field(
        description="Whether a process works on it now: it holds the lease, and reported within 5 s."
    )
    standbys: int = strawberry.field(description="How many more processes stand by to take over.")
    error_number: int | None = strawberry.field(
        description="What MySQL, MongoDB or Kafka number the last error with; null without one."
    )
    binlog_file: str | None = strawberry.field(
        description="The file that MySQL's binary log is in now; null where there is none, or it may not be read."
    )
    binlog_position: str | None = strawberry.field(description="The offset in that file, in bytes.")
    verification: Verification | None = strawberry.field(
        description="Of the continuous check; null before its first round, and for publications."
    )
    quarantine: list[QuarantinedUser] = strawberry.field(
        resolver=_quarantine, description="The users in quarantine, newest first, at most 100."
    )

    @classmethod
    def of(cls, source: ProjectionStatus) -> Self:
        return cls(
            name=source.name,
            state=source.state,
            position=Position(source.position),
            head=Position(source.head),
            lag=source.lag,
            lag_seconds=source.lag_seconds,
            events_per_second=source.events_per_second,
            quarantined=source.quarantined,
            rebuild_progress=source.rebuild_progress,
            last_error=source.last_error,
            updated_at=source.updated_at,
            active=source.active,
            standbys=len(source.standbys),
            error_number=source.error_number,
            binlog_file=source.binlog.file if source.binlog else None,
            binlog_position=str(source.binlog.offset) if source.binlog else None,
            verification=Verification(
                checked_at=source.audited_at,
                users_checked=source.audit_users or 0,
                differences=source.audit_differences or 0,
            )
            if source.audited_at
            else None,
        )
