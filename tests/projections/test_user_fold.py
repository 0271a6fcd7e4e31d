"""The quick fold of a user's rows makes what `evolve` makes, byte for byte, or leaves the rows to it."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.database import Row
from events.errors import UnreadableEvent
from events.event_types import (
    EmailVerified,
    Event,
    Origin,
    PasswordChanged,
    Role,
    RoleChanged,
    Stored,
    UserDeleted,
    UserRegistered,
    UserUpdated,
    encode,
    password_hash_of,
)
from events.vault import Vault, place_of
from projections.folding import LogFold
from projections.packed import UNPACK
from projections.user_fold import fold_rows
from tests.events.test_user import attributes, emails, names, usernames
from tests.log import MASTER_KEY

USER = UUID(int=7)
VAULT = Vault(MASTER_KEY, random.Random(1).randbytes)
KEY = VAULT.new_key(USER)
SECRET = VAULT.unwrapped(USER, KEY.wrapped, KEY.master_key_id)
START = datetime(2026, 1, 1)  # noqa: DTZ001 - as the driver returns it

instants = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds
registrations = st.builds(
    UserRegistered,
    username=usernames,
    email=emails,
    name=names,
    role=st.sampled_from(Role),
    attributes=attributes,
    created_at=st.none() | instants,
    imported=st.booleans(),
    password_hash=st.none() | st.just("hash"),
)
changes: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        UserUpdated,
        username=st.none() | usernames | st.just(""),
        email=st.none() | emails,
        name=st.none() | names,
        attributes=st.none() | attributes,
    ),
    st.builds(RoleChanged, st.sampled_from(Role)),
    st.builds(PasswordChanged, st.just("hash"), st.booleans()),
    st.just(EmailVerified()),
)
origins = st.builds(
    Origin, actor=st.none() | st.uuids(), correlation=st.none() | st.uuids(), trace=st.none() | st.just("00-ab-cd-01")
)


def sealed_row(number: int, stored: Stored, **columns: object) -> Row:
    """A row as the log holds it."""
    event_id = number.to_bytes(16)
    place = place_of(USER.bytes, number, event_id, stored.type, stored.data, stored.metadata)
    row = {
        "position": 3 * number,
        "stream_id": USER.bytes,
        "version": number,
        "event_id": event_id,
        "type": stored.type,
        "data": stored.data,
        "personal": KEY.seal(stored.personal, place, bytes(12)),
        "metadata": stored.metadata,
        "recorded_at": START + timedelta(seconds=number, microseconds=number),
        "owner_id": None,
        "number": None,
    }
    return tuple((row | columns).values())


def stored_of(event: Event, origin: Origin) -> Stored:
    """The stored form of an event."""
    return encode(event, origin, b"sealed" if password_hash_of(event) else None)


def plainly(previous: bytes | None, rows: Sequence[Row], history_events: int) -> tuple[bytes | None, bool]:
    """The packed user by way of `evolve`, and whether it is in quarantine."""
    fold = LogFold(cast("Any", None), VAULT, limit_bytes=2**40, history_events=history_events)
    fold._reader._secrets[USER.bytes] = SECRET
    packed = fold._fold_events(USER.bytes, previous, fold._reader.recorded(rows))
    return packed, USER.bytes in fold._quarantined


@given(st.lists(st.tuples(changes, origins), max_size=6), registrations, origins, st.integers(0, 7), st.integers(0, 3))
def test_the_quick_fold_of_a_life_is_the_plain_fold(
    lived: list[tuple[Event, Origin]], registered: UserRegistered, origin: Origin, split: int, history_events: int
) -> None:
    """In one part or in two; attributes keep their order and the types of their numbers."""
    events = [(registered, origin), *lived]
    rows = [sealed_row(number, stored_of(*one)) for number, one in enumerate(events, start=1)]
    quick: bytes | None = None
    plain: bytes | None = None
    for part in filter(None, (rows[:split], rows[split:])):
        quick = fold_rows(quick, part, SECRET, history_events)
        plain, _ = plainly(plain, part, history_events)
        assert quick is not None
        assert quick == plain
    assert quick is not None
    assert UNPACK(quick).version == len(rows)


def forged(**parts: object) -> Callable[[int, Stored], Row]:
    """Makes a row whose parts are replaced before it is sealed, as a faulty program would."""

    def make(number: int, stored: Stored) -> Row:
        values = {"type": stored.type, "data": stored.data, "personal": stored.personal, "metadata": stored.metadata}
        return sealed_row(number, Stored(**cast("Any", values | parts)))

    return make


def altered(**columns: object) -> Callable[[int, Stored], Row]:
    """Makes a row of which columns are replaced after it was sealed."""
    return lambda number, stored: sealed_row(number, stored, **columns)


@dataclass(frozen=True, slots=True)
class Unusual:
    """An event that the quick fold must not decide on."""

    name: str
    make: Callable[[int, Stored], Row]


UNUSUAL = [
    Unusual("altered personal data", altered(personal=b"x" * 40)),
    Unusual("too short to be sealed", altered(personal=b"x")),
    Unusual("altered metadata", altered(metadata='{"actor":null,"schema":1}')),
    Unusual("another version", altered(version=99)),
    Unusual("an owner", altered(owner_id=bytes(16))),
    Unusual("no instant", altered(recorded_at="0000-00-00 00:00:00")),
    Unusual("another stream", altered(stream_id=bytes(15) + b"\1")),
    Unusual("an unknown type", forged(type="UserTeleported")),
    Unusual("the type of a data object", forged(type="DataCreated")),
    Unusual("a newer form", forged(metadata='{"schema":2}')),
    Unusual("no form", forged(metadata="{}")),
    Unusual("no metadata", forged(metadata="")),
    Unusual("an actor that is none", forged(metadata='{"actor":"x","schema":1}')),
    Unusual("a request that is none", forged(metadata='{"correlation":7,"schema":1}')),
    Unusual("fields that are none", forged(data='{"fields":[1]}')),
    Unusual("no fields", forged(data="{}")),
    Unusual("data that is no object", forged(data="[]")),
    Unusual("personal data that is no JSON", forged(personal=b"not JSON")),
    Unusual("personal data that is no object", forged(personal=b"[1]")),
    Unusual("personal data that is no UTF-8", forged(personal=b'{"name":"\xff"}')),
    Unusual("values of other types", forged(personal=b'{"name":7,"attributes":[]}')),
    Unusual("a deletion", forged(type=UserDeleted.__name__, data='{"fields":[]}', personal=b"")),
]


@pytest.mark.parametrize("unusual", UNUSUAL, ids=lambda unusual: unusual.name)
@settings(max_examples=15)
@given(registrations, st.lists(changes, max_size=2), st.lists(changes, max_size=2), changes, st.booleans())
def test_the_quick_fold_never_decides_otherwise_than_the_plain_one(
    unusual: Unusual, registered: UserRegistered, before: list[Event], after: list[Event], event: Event, parted: bool
) -> None:
    """Damage, deletions and forms of other releases: it gives up, or makes the same user."""
    stored = [stored_of(one, Origin()) for one in (registered, *before, event, *after)]
    place = 1 + len(before)
    rows = [sealed_row(number, one) for number, one in enumerate(stored, start=1)]
    rows[place] = unusual.make(place + 1, stored[place])
    previous = fold_rows(None, rows[:place], SECRET, 3) if parted else None
    rest = rows[place:] if parted else rows

    quick = fold_rows(previous, rest, SECRET, 3)

    if quick is not None:
        try:
            plain, quarantined = plainly(previous, rest, 3)
        except UnreadableEvent as error:
            raise AssertionError(f"the quick fold has read what concerns every user: {error}") from error
        assert (quick, False) == (plain, quarantined)


def test_the_first_event_of_a_user_is_its_registration_and_no_later_one_is() -> None:
    """Both are damage, which `evolve` names."""
    registered = UserRegistered(username="ann", email="ann@example.com", name="Ann", role=Role.CUSTOMER)
    first, second = (stored_of(one, Origin()) for one in (registered, EmailVerified()))
    ann = fold_rows(None, [sealed_row(1, first)], SECRET, 3)

    assert ann is not None
    assert fold_rows(None, [sealed_row(1, second)], SECRET, 3) is None
    assert fold_rows(ann, [sealed_row(2, first)], SECRET, 3) is None
    assert fold_rows(ann, [sealed_row(3, second)], SECRET, 3) is None
