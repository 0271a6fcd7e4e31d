"""Answers that are ready to be sent, and what many who send them alike share."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, NamedTuple, TypeVar, cast

READY_BYTES: Final = 64 * 1024
"""What is made for a client ahead of its taking it, and one answer more. Each of a batch may have 64 KiB and more."""
BATCHES: Final = 64
FORMS: Final = 4
"""With so many batches that are kept, in so many forms each, 20 MB at most."""

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


class ReadyBatches:
    """What was made last of whole batches, for listeners who are given the very same ones."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, int], tuple[Sequence[object], Ready]] = OrderedDict()

    def find(self, operation: int, batch: Sequence[object]) -> Ready | None:
        """What was made of a batch for an operation."""
        found = self._kept.get((operation, id(batch)))
        return found[1] if found is not None else None

    def keep(self, operation: int, batch: Sequence[object], ready: Ready) -> None:
        """Keep it, and the batch with it, so that its id is nobody else's."""
        self._kept[operation, id(batch)] = (batch, ready)
        if len(self._kept) > BATCHES:
            self._kept.popitem(last=False)
