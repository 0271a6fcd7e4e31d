"""Traces: spans of the work on one request, from HTTP to the views. Off unless `install` was called.

The context of a trace is W3C's `traceparent`. An event stores it in its metadata, so that a projector in another
process adds its span to the trace of the request that caused the event. It has nothing of the client: the ids are
random numbers of this program (decision 66). Names and attributes of spans come from this program's code, and never
from an argument, because a trace is kept elsewhere and a deletion does not reach it.

While tracing is off, a span costs one comparison, and no event stores a context.
"""

import time
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Protocol, Self

Attribute = str | int


class Recording(Protocol):
    """A span that has begun."""

    @property
    def context(self) -> str | None:
        """Its `traceparent`; None if the trace is not sampled."""
        ...

    def end(self, attributes: dict[str, Attribute], error: BaseException | None, at: int | None = None) -> None:
        """End it, at an instant in ns if one is given. The message of an error is not recorded: it may quote values."""
        ...


class Recorder(Protocol):
    """Records spans."""

    def start(self, name: str, parent: str | None, link: str | None, at: int | None = None) -> Recording:
        """Begin a span: of the trace of `parent`, or of a new one, which is linked to the `link` of a client."""
        ...


_recorder: Recorder | None = None
_current: ContextVar[str | None] = ContextVar("rollcall_trace", default=None)


def install(recorder: Recorder | None) -> None:
    """Record the spans of this process; None turns tracing off."""
    global _recorder  # noqa: PLW0603 - one for each process, like the configuration of logging
    _recorder = recorder


def trace() -> str | None:
    """The `traceparent` of the span in which the caller works; None outside of a sampled trace."""
    return _current.get()


def now() -> int:
    """The present instant in nanoseconds."""
    return time.time_ns()


class span:  # noqa: N801 - it reads as what it makes
    """A span around a block. It begins a new trace if it is a `root` and there is none yet; else it needs one.

    A class, because a generator takes several times as long, and each request passes here.
    """

    __slots__ = ("_attributes", "_link", "_name", "_recording", "_root", "_token")

    def __init__(self, name: str, *, root: bool = False, link: str | None = None) -> None:
        self._name = name
        self._root = root
        self._link = link
        self._recording: Recording | None = None

    def __enter__(self) -> Self:
        if _recorder is not None:
            parent = _current.get()
            if parent is not None or self._root:
                self._recording = _recorder.start(self._name, parent, self._link)
                self._token: Token[str | None] = _current.set(self._recording.context)
                self._attributes: dict[str, Attribute] = {}
        return self

    def note(self, name: str, value: Attribute) -> None:
        """Add an attribute."""
        if self._recording is not None:
            self._attributes[name] = value

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if self._recording is not None:
            _current.reset(self._token)
            self._recording.end(self._attributes, error)


def is_on() -> bool:
    """Whether spans are recorded."""
    return _recorder is not None


def record(name: str, parent: str, began: int, ended: int, **attributes: Attribute) -> None:
    """Record a span that is over, in the trace of `parent`."""
    if _recorder is not None:
        _recorder.start(name, parent, None, began).end(attributes, None, ended)
