"""Permissions: which roles hold which right."""

from enum import Enum, auto

from events.event_types import Role

STAFF = frozenset({Role.TECHNICAL_WORKER, Role.SENIOR_MANAGEMENT, Role.ADMIN})
TECHNICIANS = frozenset({Role.TECHNICAL_WORKER, Role.ADMIN})
MANAGEMENT = frozenset({Role.SENIOR_MANAGEMENT, Role.ADMIN})
ADMIN = frozenset({Role.ADMIN})


class Right(Enum):
    """A right that not every role has.

    Every signed-in user may read, update and delete oneself and the data objects that one owns.
    """

    READ_ANY_USER = auto()
    READ_EVENTS = auto()
    READ_PROJECTIONS = auto()
    REBUILD_PROJECTION = auto()
    READ_STATISTICS = auto()
    CREATE_USER = auto()
    CHANGE_ROLE = auto()
    CHANGE_ANY_USER = auto()
    READ_ANY_DATA = auto()
    CHANGE_ANY_DATA = auto()
    TRANSFER_DATA = auto()
    MANAGE_WEBHOOKS = auto()
    MANAGE_SESSIONS = auto()
    EXPORT_USER = auto()


HOLDERS = {
    Right.READ_ANY_USER: STAFF,
    Right.READ_EVENTS: STAFF,
    Right.READ_PROJECTIONS: STAFF,
    Right.REBUILD_PROJECTION: TECHNICIANS,
    Right.READ_STATISTICS: MANAGEMENT,
    Right.CREATE_USER: ADMIN,
    Right.CHANGE_ROLE: ADMIN,
    Right.CHANGE_ANY_USER: ADMIN,
    Right.READ_ANY_DATA: STAFF,
    Right.CHANGE_ANY_DATA: ADMIN,
    Right.TRANSFER_DATA: ADMIN,
    Right.MANAGE_WEBHOOKS: ADMIN,
    Right.MANAGE_SESSIONS: ADMIN,
    Right.EXPORT_USER: ADMIN,
}


def may(role: Role, right: Right) -> bool:
    return role in HOLDERS[right]
