"""Numbers about all users, for management."""

from collections.abc import Mapping
from typing import Annotated, Final

import strawberry

from auth.permissions import Right
from graph.context import Info
from graph.errors import bad_input
from graph.scalars import Role
from projections.mysql.queries import count_registrations, count_roles

DEFAULT_DAYS: Final = 30
MOST_DAYS: Final = 366


@strawberry.type(description="How many users have a role.")
class RoleCount:
    role: Role = strawberry.field(description="The role.")
    count: int = strawberry.field(description="How many users have it; may be 0.")


@strawberry.type(description="How many users were registered on a day.")
class DayCount:
    day: str = strawberry.field(description="A day of UTC, such as 2026-01-31.")
    count: int = strawberry.field(description="How many of them are still there; may be 0.")


def _by_role(root: "UserStatistics") -> list[RoleCount]:
    return [RoleCount(role=role, count=count) for role, count in root.roles.items()]


async def _by_day(
    info: Info,
    days: Annotated[int | None, strawberry.argument(description="So many days, 366 at most; today is the last.")] = (
        DEFAULT_DAYS
    ),
) -> list[DayCount]:
    wanted = DEFAULT_DAYS if days is None else days
    if not 1 <= wanted <= MOST_DAYS:
        raise bad_input(f"days: expected 1 to {MOST_DAYS}, found {wanted}")
    counted = await count_registrations(info.context.services.mysql_users.database, wanted)
    return [DayCount(day=day.isoformat(), count=count) for day, count in counted]


@strawberry.type(description="Numbers about all users, as the relational view holds them.")
class UserStatistics:
    roles: strawberry.Private[Mapping[Role, int]]

    total: int = strawberry.field(
        resolver=lambda root: sum(root.roles.values()), description="How many users there are."
    )
    by_role: list[RoleCount] = strawberry.field(resolver=_by_role, description="Every role, with its users counted.")
    registrations_by_day: list[DayCount] = strawberry.field(
        resolver=_by_day,
        description="Of the users that there are, how many were registered on each of the last days, oldest first.",
    )


async def statistics(info: Info) -> UserStatistics:
    await info.context.allowed(Right.READ_STATISTICS)
    users = await info.context.mysql_users()
    return UserStatistics(roles=await count_roles(users.database))
