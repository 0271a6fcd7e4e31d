"""What clients do, as Hypothesis draws it: few names and emails, so that they meet."""

from dataclasses import dataclass

from hypothesis import strategies as st

from events.event_types import Role
from events.user import ChangeRole, Command, Delete, Register, Update

usernames = st.sampled_from(["ann", "Ann", "bob", "cid"])
emails = st.sampled_from(["a@x.org", "A@x.org", "b@x.org", "c@x.org"])
names = st.sampled_from(["N", "M"])
roles = st.sampled_from([Role.CUSTOMER, Role.CUSTOMER, Role.ADMIN])
hashes = st.sampled_from([None, "hash"])
registrations = st.builds(Register, username=usernames, email=emails, name=names, role=roles, password_hash=hashes)
changes = st.one_of(
    st.builds(Update, username=st.none() | usernames, email=st.none() | emails, name=st.none() | names),
    st.builds(ChangeRole, roles),
    st.just(Delete()),
)
numbers = st.integers(0, 1_000)


@dataclass(frozen=True)
class Act:
    """What is to be sent, before it is known to whom: numbers choose among those that there are."""

    process: int
    command: Command
    whom: int = 0
    expecting: int | None = None
    """How far from the user's version the expected one is."""
    key: bool = False


expectations = st.sampled_from([None, None, 0, 0, -1, 1])
acts = st.one_of(
    st.builds(Act, st.integers(0, 1), registrations, key=st.booleans()),
    st.builds(Act, st.integers(0, 1), changes, numbers, expectations, st.booleans()),
    st.builds(Act, st.integers(0, 1), changes, numbers, expectations, st.booleans()),
)
