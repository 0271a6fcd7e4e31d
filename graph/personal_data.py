"""Everything that the installation keeps about a user, in parts of bounded size.

`next` names the part that follows: a kind, and the place in it that the last part ended at. So an export needs no state
on the server, and may go on after an interruption.
"""

import dataclasses
import re
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
import strawberry
from strawberry.scalars import JSON

from auth.permissions import Right
from events.audit import AuditLog
from events.data_object import DataObject
from events.user import User
from graph.audit_types import UserEvent
from graph.context import Info
from graph.errors import bad_input
from graph.scalars import user_id_argument
from graph.sessions import SessionInfo, sessions

EVENTS: Final = 100
"""Of a part."""
OBJECTS: Final = 100
"""Of a part, which has 4 MiB of contents at most: see `MySQLData.owned`."""
PLACE: Final = re.compile(r"(sessions|history|data):(0|[1-9][0-9]{0,18})", re.ASCII)


@strawberry.type(description="A part of what the installation keeps about a user.")
class PersonalDataPart:
    kind: str = strawberry.field(description="profile, sessions, history or data.")
    content: JSON = strawberry.field(
        description=(
            "The user; or a list of its sessions, of its events (also those of its data objects, by `dataId`), or of\n"
            "its data objects. With the fields of the schema's types."
        )
    )
    next: str | None = strawberry.field(description="For `after`; null if this is the last part.")


async def personal_data(
    info: Info,
    user_id: Annotated[strawberry.ID | None, strawberry.argument(description="Whose; by default the viewer's.")] = None,
    after: Annotated[
        str | None, strawberry.argument(description="`next` of the part before; by default the first part.")
    ] = None,
) -> PersonalDataPart:
    context = info.context
    viewer = await context.signed_in()
    asked = viewer.id if user_id is None else user_id_argument(user_id)
    await context.allowed_on(asked, Right.EXPORT_USER)
    if after is None:
        account = await context.services.commands.account(asked)
        if account.user is None:
            raise bad_input("userId: there is no such user")
        profile = _shown(account.user) | {"emailVerified": account.email_verified}
        return PersonalDataPart(kind="profile", content=JSON(profile), next="sessions:0")
    place = PLACE.fullmatch(after)
    if place is None:
        raise bad_input(f"after: not the `next` of a part: {after!r:.80}")
    kind, reached = place[1], int(place[2])
    if kind == "sessions":
        found = await sessions(info, strawberry.ID(str(asked)))
        return PersonalDataPart(kind=kind, content=JSON(list(map(_shown, found))), next="history:0")
    if kind == "history":
        log = AuditLog(context.services.database)
        entries = await log.of_person(asked, after=reached, limit=EVENTS + 1)
        shown = [_shown(UserEvent.of(entry)) for entry in entries[:EVENTS]]
        following = f"history:{entries[EVENTS - 1].position}" if len(entries) > EVENTS else "data:0"
        return PersonalDataPart(kind=kind, content=JSON(shown), next=following)
    page = await context.owned_data(asked, reached, OBJECTS)
    last = page.data[-1].number if page.data else reached  # all of the page may have been deleted meanwhile
    return PersonalDataPart(
        kind=kind, content=JSON(list(map(_shown, page.data))), next=f"data:{last}" if page.more else None
    )


def _shown(value: User | DataObject | UserEvent | SessionInfo) -> dict[str, Any]:
    """A value as the schema's type of it shows it."""
    fields = msgspec.structs.asdict(value) if isinstance(value, msgspec.Struct) else dataclasses.asdict(value)
    return {_graph_name(name): _scalar(name, found) for name, found in fields.items()}


def _graph_name(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _scalar(name: str, value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case UUID():
            return str(value)
        case Enum():
            return value.name
        case int() if name == "position":
            return str(value)
        case _:
            return value
