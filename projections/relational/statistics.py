"""Numbers about all users, from the MySQL view: two statements, each answered from an index alone."""

from collections.abc import Mapping
from datetime import date
from typing import Final

from events.catalogue import Role
from events.database import Database
from projections.relational.tables import missing_is_told

# From by_role.
COUNT_ROLES: Final = "SELECT role, COUNT(*) FROM users GROUP BY role"
# From the end of by_created_at. Days are UTC's, as the column is, and today is MySQL's.
COUNT_DAYS: Final = """
WITH RECURSIVE days (day) AS (
    SELECT UTC_DATE() - INTERVAL %s DAY
    UNION ALL
    SELECT day + INTERVAL 1 DAY FROM days WHERE day < UTC_DATE()
), registrations (day, users) AS (
    SELECT DATE(created_at), COUNT(*) FROM users
    WHERE created_at >= UTC_DATE() - INTERVAL %s DAY
    GROUP BY DATE(created_at)
)
SELECT days.day, COALESCE(registrations.users, 0)
FROM days LEFT JOIN registrations ON registrations.day = days.day
ORDER BY days.day
"""


async def count_roles(database: Database) -> Mapping[Role, int]:
    """How many users have each role."""
    with missing_is_told():
        rows = await database.fetch_all(COUNT_ROLES)
    return dict.fromkeys(Role, 0) | {Role(role): count for role, count in rows}


async def count_registrations(database: Database, days: int) -> list[tuple[date, int]]:
    """How many of today's users were registered on each of the last days, oldest first, today last."""
    with missing_is_told():
        return [(day, count) for day, count in await database.fetch_all(COUNT_DAYS, (days - 1, days - 1))]
