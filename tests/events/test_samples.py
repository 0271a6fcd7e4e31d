"""Every form in which events were ever stored can be read: samples of them are in `samples/`, and are never changed.

A sample has what was stored, opened and as JSON, and what it means: the event, its fields, and who did it.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from events.errors import UnreadableEvent
from events.event_types import (
    EVENT_TYPES,
    SCHEMA,
    Forgotten,
    Origin,
    Role,
    Stored,
    Upcasters,
    UserUpdated,
    Values,
    decode,
    encode,
    sealed_credential,
    upcast,
)

SAMPLES = {path.stem: msgspec.json.decode(path.read_bytes()) for path in (Path(__file__).parent / "samples").iterdir()}


def stored(sample: Any) -> Stored:
    """A sample as it comes from the store, opened."""
    row = sample["stored"]
    data, metadata = (msgspec.json.encode(row[column]).decode() for column in ("data", "metadata"))
    return Stored(row["type"], data, msgspec.json.encode(row["personal"]) if row["personal"] else b"", metadata)


def form_of(sample: Any) -> int:
    """The form that a sample was stored in."""
    form: int = sample["stored"]["metadata"]["schema"]
    return form


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_still_means_what_it_meant(name: str) -> None:
    """Whatever release wrote it."""
    sample = SAMPLES[name]

    event, fields, origin = decode(stored(sample), 1)

    assert type(event).__name__ == sample["stored"]["type"]
    values = msgspec.json.decode(msgspec.json.encode(msgspec.structs.asdict(event)))
    assert {key: values[key] for key in sample["event"]} == sample["event"]  # a later release may add fields
    assert list(fields) == sample["fields"]
    assert msgspec.to_builtins(origin.actor) == sample["actor"]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_of_a_deleted_user_can_be_read_without_what_was_personal(name: str) -> None:
    """What is left says that it happened."""
    sample = SAMPLES[name]
    left = msgspec.structs.replace(stored(sample), personal=b"")

    event, fields, _ = decode(left, 1, forgotten=True)

    assert isinstance(event, Forgotten) or sample["stored"]["type"] in {"UserDeleted", "DataDeleted"}
    assert list(fields) == sample["fields"]


@pytest.mark.parametrize("name", [name for name, sample in SAMPLES.items() if form_of(sample) == SCHEMA])
def test_what_is_written_today_has_the_form_that_it_says(name: str) -> None:
    """A stored form that changes without a new SCHEMA would make two forms of one number."""
    sample = SAMPLES[name]
    event, _, origin = decode(stored(sample), 1)

    credential = sealed_credential(stored(sample).personal)
    if credential is not None:
        event = msgspec.structs.replace(event, password_hash="its hash, before it was sealed")
    assert encode(event, origin, credential) == stored(sample)


def test_every_type_has_a_sample_in_the_form_of_today() -> None:
    """A type that is added, or a form that is, brings its sample."""
    newest = {sample["stored"]["type"] for sample in SAMPLES.values() if form_of(sample) == SCHEMA}

    assert newest == set(EVENT_TYPES)


def first_to_second(values: Values) -> Values:
    """An example: `name` was called `full_name` once."""
    fields = ["name" if field == "full_name" else field for field in values["fields"]]
    return {"name" if key == "full_name" else key: value for key, value in values.items()} | {"fields": fields}


def third_to_fourth(values: Values) -> Values:
    """An example: names were in lower case once."""
    return values | ({"name": values["name"].title()} if "name" in values else {})


EXAMPLES: Upcasters = {("UserUpdated", 1): first_to_second, ("UserUpdated", 3): third_to_fourth}


def updated(form: int, name: str) -> Stored:
    """An update that was stored in a form before today's."""
    return Stored(
        "UserUpdated",
        f'{{"fields":["{name}"]}}',
        f'{{"{name}":"ada"}}'.encode(),
        f'{{"schema":{form}}}',
    )


@pytest.mark.parametrize(
    ("form", "name", "expected"), [(1, "full_name", "Ada"), (2, "name", "Ada"), (3, "name", "Ada"), (4, "name", "ada")]
)
def test_an_event_goes_through_all_forms_from_its_own_on(form: int, name: str, expected: str) -> None:
    """One step at a time, and those before its own form never touch it."""
    event, fields, _ = decode(updated(form, name), 1, newest=4, upcasters=EXAMPLES)

    assert (event, fields) == (UserUpdated(name=expected), ("name",))


def test_an_upcaster_also_sees_events_of_deleted_users() -> None:
    """Their fields' names have a form too."""
    event, fields, _ = decode(updated(1, "full_name"), 1, forgotten=True, newest=4, upcasters=EXAMPLES)

    assert (event, fields) == (Forgotten(), ("name",))


def test_other_types_and_forms_without_an_upcaster_stay_as_they_are() -> None:
    """A form that only adds what has a default needs no function."""
    values = {"role": Role.ADMIN, "fields": ["role"]}

    assert upcast("RoleChanged", values, 1, 4, EXAMPLES) == values


@pytest.mark.parametrize("form", [0, SCHEMA + 1])
def test_a_form_that_was_never_written_or_is_newer_stops_the_reader(form: int) -> None:
    """It says which forms can be read."""
    with pytest.raises(UnreadableEvent, match=f"stored form {form}, this program reads forms 1 to {SCHEMA}"):
        decode(updated(form, "name"), 7)


def test_an_unknown_type_stops_the_reader() -> None:
    """It is never skipped."""
    unknown = encode(UserUpdated(name="Ada"), Origin())

    with pytest.raises(UnreadableEvent, match=r"position 7.*'UserPromoted'"):
        decode(msgspec.structs.replace(unknown, type="UserPromoted"), 7)
