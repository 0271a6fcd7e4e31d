"""Numbers about all users, for those who manage them."""

from collections.abc import Mapping
from typing import Annotated, Final

import strawberry

from graph.context import Info
from graph.limits import DEFAULT_DAYS, MOST_ACTIVITY_DAYS, MOST_DAYS, MOST_WEEKS
from graph.relay import within
from graph.scalars import Role
from projections.mysql.queries import count_registrations

ACTIVITY_DAYS: Final = 60
RETENTION_WEEKS: Final = 8


@strawberry.type(description="How many users have a role.")
class RoleCount:
    role: Role = strawberry.field(description="The role.")
    count: int = strawberry.field(description="How many users have it; may be 0.")


@strawberry.type(description="How many users were registered on a day.")
class DayCount:
    day: str = strawberry.field(description="A day of UTC, such as 2026-01-31.")
    count: int = strawberry.field(description="How many of them still exist; may be 0.")


def _by_role(root: "UserStatistics") -> list[RoleCount]:
    return [RoleCount(role=role, count=count) for role, count in root.roles.items()]


async def _by_day(
    info: Info,
    days: Annotated[int | None, strawberry.argument(description="How many days, at most 366; today is the last.")] = (
        DEFAULT_DAYS
    ),
) -> list[DayCount]:
    wanted = within("days", DEFAULT_DAYS if days is None else days, 1, MOST_DAYS)
    counted = await count_registrations(info.context.services.mysql_users.database, wanted)
    return [DayCount(day=day.isoformat(), count=count) for day, count in counted]


@strawberry.type(description="What happened on one day of UTC.")
class DayActivity:
    day: str = strawberry.field(description="The day, such as 2026-01-31.")
    registrations: int = strawberry.field(description="Users registered.")
    deletions: int = strawberry.field(description="Users deleted.")
    sign_ins: int = strawberry.field(description="Sign-ins with the right password.")
    failed_sign_ins: int = strawberry.field(description="Sign-ins with a wrong username, email or password.")
    active_users: int = strawberry.field(
        description="Users who signed in or refreshed a session; users deleted since do not count."
    )
    total: int = strawberry.field(description="Users at the end of the day.")


@strawberry.type(description="The users who registered in one week, and how many of them came back.")
class Cohort:
    week: str = strawberry.field(description="The Monday of the week, UTC, such as 2026-01-26.")
    registered: int = strawberry.field(description="Users registered in the week.")
    active: list[int] = strawberry.field(
        description="How many of them were active in that week, and in each week after until this one."
    )


async def _activity(
    info: Info,
    root: strawberry.Parent["UserStatistics"],
    days: Annotated[int | None, strawberry.argument(description="How many days, at most 400; today is the last.")] = (
        ACTIVITY_DAYS
    ),
) -> list[DayActivity]:
    wanted = within("days", ACTIVITY_DAYS if days is None else days, 1, MOST_ACTIVITY_DAYS)
    found = await info.context.services.activity.by_day(wanted, sum(root.roles.values()))
    return [
        DayActivity(
            day=one.day.isoformat(),
            registrations=one.registrations,
            deletions=one.deletions,
            sign_ins=one.sign_ins,
            failed_sign_ins=one.failed_sign_ins,
            active_users=one.active_users,
            total=one.total,
        )
        for one in found
    ]


async def _active_sessions(info: Info) -> int:
    return await info.context.services.activity.active_sessions()


async def _retention(
    info: Info,
    weeks: Annotated[int | None, strawberry.argument(description="How many weeks, at most 52; this is the last.")] = (
        RETENTION_WEEKS
    ),
) -> list[Cohort]:
    wanted = within("weeks", RETENTION_WEEKS if weeks is None else weeks, 1, MOST_WEEKS)
    found = await info.context.services.activity.retention(wanted)
    return [Cohort(week=one.week.isoformat(), registered=one.registered, active=list(one.active)) for one in found]


@strawberry.type(description="Numbers about all users.")
class UserStatistics:
    roles: strawberry.Private[Mapping[Role, int]]

    total: int = strawberry.field(
        resolver=lambda root: sum(root.roles.values()), description="How many users there are."
    )
    by_role: list[RoleCount] = strawberry.field(resolver=_by_role, description="Every role, with its users counted.")
    registrations_by_day: list[DayCount] = strawberry.field(
        resolver=_by_day,
        description="Of the users that exist, how many were registered on each of the last days, oldest first.",
    )
    activity: list[DayActivity] = strawberry.field(
        resolver=_activity, description="Each of the last days, oldest first, also those on which nothing happened."
    )
    active_sessions: int = strawberry.field(
        resolver=_active_sessions, description="Sessions that have neither ended nor expired."
    )
    retention: list[Cohort] = strawberry.field(
        resolver=_retention, description="The users of each of the last weeks, oldest first."
    )
