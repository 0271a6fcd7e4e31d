"""Time travel: one user as it was, folded from the log."""

from datetime import datetime
from functools import reduce
from itertools import takewhile
from uuid import UUID

from events.store import EventStore
from events.unfolding import unfold_stream, user_after
from events.user import User
from graph.errors import bad_input


async def past_user(
    store: EventStore, user_id: UUID, *, as_of: datetime | None, at_position: int | None
) -> User | None:
    """The user as of an instant or a position; one that lies ahead means now.

    None before the registration. None for all times once the user is deleted: its data is gone.

    Raises:
        ClientError: both are given.
    """
    if as_of is not None and at_position is not None:
        raise bad_input("asOf, atPosition: give one of them, not both")
    if at_position is not None:
        return await unfold_stream(store, user_id, at_position)
    stream = await store.read_stream(user_id)
    # Clocks of different servers may differ, so later events may bear earlier instants. None that the log recorded
    # after an event of later than `as_of` counts: what one sees only ever grows with the instant that is asked for.
    past = takewhile(lambda recorded: as_of is None or recorded.recorded_at <= as_of, stream.events)
    return reduce(user_after, past, None)
