"""The mapping of the file's fields to the fields of a user."""

import json
from typing import Any

import pytest

from rollcall.userfile import BadRow, FieldMap, UserFileError, UserRow, parse_mapping, read_users
from tests.rollcall.userfile import Write, read, row


def test_mapped_fields_are_taken_and_the_rest_is_attributes(write: Write) -> None:
    """A mapped field sets its target; the file's own field with the target's name becomes an attribute."""
    path = write('{"login":"ada","username":"shown as Ada","password":"$2b$x","mail":null,"age":36}')

    (only,) = read(path, "username = login, password_hash=password,email=mail")

    assert only == row(1, username="ada", password_hash="$2b$x", attributes={"username": "shown as Ada", "age": 36})


def test_one_field_may_set_two_targets(write: Write) -> None:
    """`username=email` uses the email for both."""
    assert read(write('{"email":"a@b"}'), "username=email") == [row(1, username="a@b", email="a@b")]


def test_a_wrong_type_names_the_mapped_field(write: Write) -> None:
    """The reason names the file's field and its target."""
    (bad,) = read(write('{"login":{"$numberInt":"5"}}'), "username=login")

    assert bad == BadRow(1, "'login', taken for username, is a number: expected a string or nothing")


@pytest.mark.parametrize(
    ("fields", "attributes"),
    [
        ({"attributes": {"a": 1}, "b": 2}, {"a": 1, "b": 2}),
        ({"attributes": {"username": "x", "attributes": 1}}, {"username": "x", "attributes": 1}),
        ({"attributes": None, "b": 2}, {"b": 2}),
        ({"attributes": "text", "b": 2}, {"attributes": "text", "b": 2}),
        ({"attributes": [1]}, {"attributes": [1]}),
    ],
)
def test_an_attributes_object_becomes_the_attributes(
    write: Write, fields: dict[str, Any], attributes: dict[str, Any]
) -> None:
    """An object under `attributes` is merged with the other fields; any other value stays a field."""
    assert read(write(json.dumps(fields))) == [row(1, attributes)]


def test_mapped_fields_that_no_row_has_are_reported(write: Write) -> None:
    """After the last row `unmet_fields` lists the probably misspelt names of --map."""
    users = read_users(write('{"login":"a"}\n{"login":"b"}\n{"mail":5}\n'), parse_mapping("username=login,email=mial"))
    assert users.unmet_fields == ["login", "mial"]

    assert len(list(users)) == 3

    assert users.unmet_fields == ["mial"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--map has '' where TARGET=FIELD is expected, such as username=login"),
        ("username=login,", "--map has '' where TARGET=FIELD is expected, such as username=login"),
        ("username", "--map has 'username' where TARGET=FIELD is expected, such as username=login"),
        ("username= ", "--map has 'username= ' where TARGET=FIELD is expected, such as username=login"),
        ("=login", "--map has '=login' where TARGET=FIELD is expected, such as username=login"),
        ("username=a,username=b", "--map gives username twice ('a' and 'b'): keep one of them"),
        (
            "login=username",
            "--map does not know 'login': before the = goes one of username, email, name, role, password_hash, id,",
        ),
        ("name=+", "--map has 'name=+' where TARGET=FIELD is expected, such as username=login"),
    ],
)
def test_a_bad_map_is_refused(text: str, message: str) -> None:
    """Each error of a --map that is not TARGET=FIELD pairs with distinct, known targets is named."""
    with pytest.raises(UserFileError) as caught:
        parse_mapping(text)

    assert str(caught.value).startswith(message)


def test_paths_and_joined_fields_are_taken_out_of_the_attributes(write: Write) -> None:
    """A name with a dot is tried as it is first; the rest of a nested object stays."""
    path = write(
        '{"traits":{"email":"a@b","name":{"first":"Ada","last":"King"},"plan":"x"},"emails":[{"value":"c@d"}],"a.b":"u"}'
    )

    (only,) = read(path, "email=traits.email,name=traits.name.first+traits.name.last,username=a.b")
    (listed,) = read(path, "email=emails.0.value")

    assert only == row(
        1,
        username="u",
        email="a@b",
        name="Ada King",
        attributes={"traits": {"plan": "x"}, "emails": [{"value": "c@d"}]},
    )
    assert isinstance(listed, UserRow)
    assert listed.email == "c@d"
    assert "emails" not in listed.attributes


def test_ignored_fields_are_left_out(write: Write) -> None:
    """By name or path, also those that would be a field of the user."""
    path = write('{"email":"a@b","role":"authenticated","x":{"y":1,"z":2}}')

    assert list(read_users(path, FieldMap(ignored=("role", "x.y")))) == [row(1, {"x": {"z": 2}}, email="a@b")]


def test_an_empty_text_is_no_value(write: Write) -> None:
    """In JSON as in CSV."""
    assert read(write('{"email":"a@b","username":"","name":" ","role":"","password_hash":""}')) == [row(1, email="a@b")]
