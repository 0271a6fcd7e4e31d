"""Answers that are ready to be sent, and what many who send them alike share."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, NamedTuple, TypeVar, cast

READY_BYTES: Final = 64 * 1024
"""What is made for a client ahead of its taking it, and one answer more. Each of a batch may have 64 KiB and more."""
OPERATIONS: Final = 8
FORMS: Final = 4
"""So many operations share a batch, and are sent in so many forms: with 16 batches at a time 40 MB at most."""

Made = TypeVar("Made")


class Answer(NamedTuple):
    """One result of an operation, ready to be sent."""

    payload: bytes
    """JSON: data, errors."""
    position: int | None = None
    """Where a client that has it may go on from."""


class Ready:
    """Answers that are sent together, and what is made of them for sending, once for all who send them alike."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.answers = answers
        self._made: OrderedDict[Hashable, Any] = OrderedDict()

    def made(self, form: Hashable, make: Callable[[Sequence[Answer]], Made]) -> Made:
        """What depends on nothing but the answers and the form."""
        if form not in self._made:
            self._made[form] = make(self.answers)
            if len(self._made) > FORMS:
                self._made.popitem(last=False)
        return cast("Made", self._made[form])
