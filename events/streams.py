"""Streams: a stream is the events of one user or of one data object, and its state is what they add up to.

The types of a stream's events say which of the two it is.
"""

from events.data_object import DataObject, evolve_data
from events.event_types import Recorded
from events.user import User, evolve

State = User | DataObject


def evolve_stream(state: State | None, recorded: Recorded) -> State | None:
    """The user or the data object after one more of its events; None once deleted.

    Raises:
        DamagedEvent: the event cannot be read, or is not of a stream that has begun.
    """
    if recorded.is_data:
        return evolve_data(state if isinstance(state, DataObject) else None, recorded)
    return evolve(state if isinstance(state, User) else None, recorded)
