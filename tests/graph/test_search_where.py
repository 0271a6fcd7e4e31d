"""`searchUsers(where:)`: tests on any path inside attributes, and values and paths that try to be more than that."""

from typing import Any

import pytest
import pytest_asyncio

from tests.graph.client import Json
from tests.graph.conftest import Complaints
from tests.graph.crowd import Crowd, gather
from tests.graph.documents import SEARCH
from tests.graph.site import Site

PEOPLE: dict[str, Json] = {
    "ann": {
        "n": 1,
        "flag": True,
        "address": {"city": "Kuala Lumpur", "zip": "50088"},
        "accounts": [371138, 324287],
        "deep": {"list": [{"k": 1}, {"k": 2, "l": {"m": "x"}}]},
    },
    "bob": {"n": 2, "flag": False, "address": {"city": "Penang"}, "accounts": [278603]},
    "cid": {"n": 2.5, "accounts": [], "nothing": None},
    "dan": {"n": "2", "big": 2**63 - 1, "since": "2026-01-31"},
    "eve": {},
}


@pytest_asyncio.fixture(scope="module")
async def crowd(shared_site: Site) -> Crowd:
    """Ann, Bob, Cid, Dan and Eve."""
    return await gather(shared_site, {name: {"attributes": attributes} for name, attributes in PEOPLE.items()})


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"path": "n", "eq": 2}, "b"),
        ({"path": "n", "eq": 2.5}, "c"),
        ({"path": "n", "eq": "2"}, "d"),
        ({"path": "n", "ne": 2}, "acde"),
        ({"path": "n", "gt": 1}, "bc"),
        ({"path": "n", "gte": 2}, "bc"),
        ({"path": "n", "lt": 2}, "a"),
        ({"path": "n", "lte": 2}, "ab"),
        ({"path": "n", "gt": 1, "lt": 2.5}, "b"),
        ({"path": "n", "in": [1, "2", True]}, "ad"),
        ({"path": "n", "in": []}, ""),
        ({"path": "n", "exists": True}, "abcd"),
        ({"path": "n", "exists": False}, "e"),
        ({"path": "nothing", "exists": True}, "c"),
        ({"path": "since", "gte": "2026", "lt": "2027"}, "d"),
        ({"path": "flag", "eq": True}, "a"),
        ({"path": "flag", "eq": 1}, ""),
        ({"path": "big", "eq": 2**63 - 1}, "d"),
        ({"path": "big", "eq": 2**63 - 2}, ""),
        ({"path": "address.city", "eq": "Kuala Lumpur"}, "a"),
        ({"path": "address.city", "eq": "kuala lumpur"}, ""),
        ({"path": "address.city", "in": ["Penang", "Ipoh"]}, "b"),
        ({"path": "address.city", "ne": "Penang"}, "acde"),
        ({"path": "address.zip", "exists": False}, "bcde"),
        ({"path": "address", "eq": {"city": "Penang"}}, "b"),
        ({"path": "accounts", "eq": 371138}, "a"),
        ({"path": "accounts", "eq": [371138, 324287]}, "a"),
        ({"path": "accounts", "eq": []}, "c"),
        ({"path": "accounts", "gt": 300_000}, "a"),
        ({"path": "accounts", "in": [324287, 278603]}, "ab"),
        ({"path": "accounts.0", "eq": 278603}, "b"),
        ({"path": "accounts.1", "exists": True}, "a"),
        ({"path": "deep.list.k", "eq": 2}, "a"),
        ({"path": "deep.list.1.k", "eq": 2}, "a"),
        ({"path": "deep.list.0.k", "eq": 2}, ""),
        ({"path": "deep.list.l.m", "eq": "x"}, "a"),
    ],
    ids=str,
)
async def test_each_operator_on_plain_nested_and_listed_values(
    site: Site, crowd: Crowd, where: Json, expected: str
) -> None:
    """Values compare with their own kind only; a test on a list holds if it holds for one of its elements."""
    assert await crowd.found(where=[crowd.marked, where]) == expected


async def test_all_tests_must_hold(site: Site, crowd: Crowd) -> None:
    """Several tests narrow the search down, together with words."""
    assert await crowd.found(where=[crowd.marked, {"path": "n", "gte": 1}, {"path": "flag", "exists": True}]) == "ab"
    assert await crowd.found(where=[crowd.marked, {"path": "n", "eq": 1}, {"path": "n", "eq": 2}]) == ""
    page = await crowd.staff.field(SEARCH, text=f"{crowd.mark} penang", where=[{"path": "flag", "eq": False}])
    assert [edge["node"]["id"] for edge in page["edges"]] == [crowd.people["bob"].id]


OPERATORS = [{"$gt": ""}, {"$ne": None}, {"$regex": "."}, {"$where": "1"}, {"$exists": True}, {"$not": {"$eq": 1}}]


@pytest.mark.parametrize("value", OPERATORS, ids=str)
@pytest.mark.parametrize("operator", ["eq", "ne", "gt", "gte", "lt", "lte"])
async def test_an_operator_given_as_a_value_is_refused(site: Site, crowd: Crowd, operator: str, value: Json) -> None:
    """Nothing in attributes has a key with a dollar sign; a value that has one is a mistake or an attack."""
    answer = await crowd.staff.ask(SEARCH, where=[{"path": "n", operator: value}])

    assert answer.codes == ["BAD_USER_INPUT"]
    assert answer.message.startswith("where n: ")


@pytest.mark.parametrize(
    "path",
    ["", ".", "a.", ".a", "a..b", "$where", "a.$gt", "a.$[]", "$expr", "a\x00b", "\x00", "x" * 1_000, "a." * 400 + "a"],
    ids=lambda path: ascii(path)[:16],
)
async def test_what_is_no_path_is_refused(site: Site, crowd: Crowd, path: str) -> None:
    """Operators, empty steps, NUL, and what is longer than any path that could be stored: BAD_USER_INPUT."""
    answer = await crowd.staff.ask(SEARCH, where=[{"path": path, "eq": 1}])

    assert answer.codes == ["BAD_USER_INPUT"]
    assert answer.message.startswith("where: ")
    assert len(answer.message) < 400


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**400, [[2**64]], {"a": [2**70]}], ids=lambda v: str(v)[:16])
@pytest.mark.parametrize("operator", ["eq", "ne", "lt"])
async def test_an_integer_that_no_document_can_hold_is_refused(
    site: Site, crowd: Crowd, operator: str, value: Json
) -> None:
    """Instead of being rounded, or failing in the database."""
    answer = await crowd.staff.ask(SEARCH, where=[{"path": "n", operator: value}])

    assert answer.codes == ["BAD_USER_INPUT"]


async def test_a_path_without_a_test_is_refused(site: Site, crowd: Crowd) -> None:
    """Finding everybody is surely not what was meant."""
    answer = await crowd.staff.ask(SEARCH, where=[{"path": "n"}])

    assert answer.codes == ["BAD_USER_INPUT"]
    assert answer.message == "where: give a test for 'n', such as eq or exists"


@pytest.mark.parametrize("arguments", [{"first": -1}, {"first": 101}, {"after": "nonsense"}, {"after": ""}], ids=str)
async def test_arguments_that_make_no_sense_are_named(site: Site, crowd: Crowd, arguments: Json) -> None:
    """BAD_USER_INPUT, with the argument at the message's start."""
    answer = await crowd.staff.ask(SEARCH, **arguments)

    assert answer.codes == ["BAD_USER_INPUT"]
    assert answer.message.startswith(f"{next(iter(arguments))}: ")


def nested(levels: int) -> Json:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "where",
    [
        {"path": "n", "in": [{"$gt": ""}]},
        {"path": "n", "in": [1, {"$regex": "."}]},
        {"path": "n", "eq": {"a\x00b": 1}},
        {"path": "n", "eq": nested(250)},
        {"path": ".".join("a" * 250), "eq": 1},
    ],
    ids=lambda where: ascii(where)[:40],
)
async def test_what_the_database_would_refuse_is_refused_before(
    site: Site, crowd: Crowd, complaints: Complaints, where: Json
) -> None:
    """A value or path that no document can hold is BAD_USER_INPUT, and is no fault of the server's."""
    answer = await crowd.staff.ask(SEARCH, where=[where])

    assert complaints.take() == []
    assert answer.codes == ["BAD_USER_INPUT"]
