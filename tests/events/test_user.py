"""The User aggregate: pure, complete, and the same however it is folded."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.errors import Reason, Rejected, UnreadableEvent
from events.event_types import (
    Origin,
    Recorded,
    Role,
    Stored,
    UserDeleted,
    decode,
    encode,
    password_hash_of,
    sealed_credential,
)
from events.rules import merge_patch, sought_name
from events.user import (
    Account,
    ChangePassword,
    ChangeRole,
    Command,
    Delete,
    Register,
    Update,
    account_of,
    decide,
    evolve,
    evolve_account,
)

USER = UUID(int=7)
START = datetime(2026, 1, 1, tzinfo=UTC)

keys = st.text(st.characters(codec="utf-8", exclude_characters=".$\0"), min_size=1, max_size=8)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
attributes = st.dictionaries(keys, json_values, max_size=4)
names = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=20).filter(
    sought_name
)
usernames = st.from_regex(r"[a-z][a-z0-9._-]{0,20}", fullmatch=True)
emails = usernames.map(lambda username: f"{username.replace('.', '')}@example.com").filter(
    lambda email: not email.startswith(("-", "."))
)
commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(
        Update,
        username=st.none() | usernames,
        name=st.none() | names,
        attributes=st.none() | attributes,
    ),
    st.builds(ChangeRole, st.sampled_from(Role)),
    st.just(Delete()),
)
registrations = st.builds(
    Register, username=usernames, email=emails, name=names, role=st.sampled_from(Role), attributes=attributes
)


def record(account: Account, command: Command, position: int) -> list[Recorded]:
    """What the log would hold after the command, by way of the stored form."""
    recorded = []
    for number, event in enumerate(decide(account, command), start=1):
        credential = b"sealed" if password_hash_of(event) else None
        stored = encode(event, Origin(actor=USER), credential)
        decoded, fields, origin = decode(stored, position)
        recorded.append(
            Recorded(
                position=position + number,
                stream_id=USER,
                version=account.version + number,
                event_id=UUID(int=position + number),
                type=stored.type,
                event=decoded,
                fields=fields,
                origin=origin,
                recorded_at=START + timedelta(seconds=position),
            )
        )
        assert decoded == (msgspec.structs.replace(event, password_hash=None) if credential else event)
        assert sealed_credential(stored.personal) == credential
    return recorded


def live(registration: Register, *commands: Command) -> tuple[Account, list[Recorded]]:
    """The account and the stream after a life of commands; refused ones change nothing."""
    account, stream = Account(), list[Recorded]()
    for command in (registration, *commands):
        try:
            news = record(account, command, len(stream))
        except Rejected:
            continue
        for recorded in news:
            account = evolve_account(account, recorded)
        stream += news
    return account, stream


@given(registrations, st.lists(commands, max_size=6))
def test_a_life_folded_from_its_stored_stream_is_the_life_that_was_lived(
    registration: Register, lived: list[Command]
) -> None:
    """State is nothing but the fold of the stream, through the stored form; versions are 1, 2, 3, ..."""
    account, stream = live(registration, *lived)

    assert account_of(stream) == account
    assert [recorded.version for recorded in stream] == list(range(1, len(stream) + 1))
    assert account.version == len(stream)


@given(registrations, st.lists(commands, max_size=6))
def test_repeating_a_command_that_took_effect_changes_nothing(registration: Register, lived: list[Command]) -> None:
    """A command that asks for what already is causes no event."""
    account, _ = live(registration, *lived)
    user = account.user
    if user is not None:
        same = Update(username=user.username, email=user.email, name=user.name, attributes={})

        assert decide(account, same) == ()
        assert decide(account, ChangeRole(user.role)) == ()


@given(registrations, commands)
def test_after_a_deletion_nothing_can_be_done_to_a_user(registration: Register, command: Command) -> None:
    """The end of a stream is the end: every command is refused as NOT_FOUND."""
    account, _ = live(registration, Delete())

    with pytest.raises(Rejected) as refused:
        decide(account, command)

    assert [problem.reason for problem in refused.value.problems] == [Reason.NOT_FOUND]
    assert account.user is None
    assert account.password_version == 0


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_what_rfc_7396_appendix_a_says(target: object, patch: object, result: object) -> None:
    """Every example of the standard."""
    assert merge_patch(target, patch) == result


def test_true_and_1_are_different_values() -> None:
    """A patch from true to 1 is a change, though Python takes them for equal."""
    account, _ = live(Register(username="a", email="a@example.com", name="A", attributes={"x": True}))

    assert decide(account, Update(attributes={"x": 1})) != ()


def test_a_password_is_only_replaced_if_it_is_the_one_that_was_checked() -> None:
    """Two changes of one password at the same moment: the second one was checked against a hash that is gone."""
    register = Register(username="a", email="a@example.com", name="A", password_hash="old")
    account, _ = live(register, ChangePassword(password_hash="new", replaces=1))

    with pytest.raises(Rejected, match="changed meanwhile"):
        decide(account, ChangePassword(password_hash="other", replaces=1))

    assert account.password_version == 2


@pytest.mark.parametrize(
    ("command", "ends"),
    [
        (Update(name="B"), False),
        (ChangePassword(password_hash="new", replaces=1), True),
        (ChangePassword(password_hash="new", replaces=1, rehashed=True), False),
        (ChangeRole(Role.ADMIN), True),
        (Delete(), True),
    ],
    ids=["update", "password", "the same password with another hash", "role", "deletion"],
)
def test_what_ends_a_user_s_sessions_is_in_its_stream(command: Command, ends: bool) -> None:
    """Another password, another role and the user's end do, each at its own version; nothing else does."""
    register = Register(username="a", email="a@example.com", name="A", password_hash="old")
    before, _ = live(register)

    account, stream = live(register, command)

    assert before.signed_out_at == 1
    assert len(stream) == 2
    assert account.signed_out_at == (2 if ends else 1)


def test_an_event_of_a_user_that_never_registered_cannot_be_read() -> None:
    """A damaged stream is an error with its position, never a guess."""
    _, stream = live(Register(username="a", email="a@example.com", name="A"), ChangeRole(Role.ADMIN))

    with pytest.raises(UnreadableEvent, match="position 2"):
        evolve(None, stream[1])


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (Stored("UserTeleported", "{}", b"", '{"schema":1}'), "unknown type 'UserTeleported'"),
        (Stored("UserDeleted", '{"fields":[]}', b"", '{"schema":2}'), "stored form 2"),
        (Stored("RoleChanged", '{"fields":["role"],"role":"KING"}', b"", '{"schema":1}'), "damaged RoleChanged"),
        (Stored("RoleChanged", '{"fields":["role"]', b"", '{"schema":1}'), "damaged RoleChanged"),
    ],
)
def test_an_event_that_this_program_does_not_know_stops_the_reader(stored: Stored, reason: str) -> None:
    """An unknown type, a newer form or damage is an error that names the position, never a silent skip."""
    with pytest.raises(UnreadableEvent, match=f"position 42 .*{reason}"):
        decode(stored, 42)


def test_personal_data_is_kept_apart_from_what_stays_for_ever() -> None:
    """The open part of an event says what kind of thing happened, and nothing about the person."""
    register = Register(username="alice", email="a@x.org", name="Alice", attributes={"k": "v"}, password_hash="h")
    (event,) = decide(Account(), register)

    stored = encode(event, Origin(), b"sealed")

    assert stored.data == ('{"role":"CUSTOMER","fields":["username","email","name","role","attributes","password"]}')
    assert encode(UserDeleted(), Origin()).personal == b""
