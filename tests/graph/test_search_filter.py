"""`searchUsers(filter)`: one search combines words, attribute paths and the filter that `users` takes."""

import unicodedata
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.errors import Rejected
from events.event_types import Role
from events.rules import clean_name
from tests.graph.client import Json
from tests.graph.site import Person, Site

SEARCH = """
query($text: String, $where: [AttributeFilter!], $filter: UserFilter) {
  searchUsers(text: $text, where: $where, filter: $filter, first: 100) { totalCount edges { node { username } } }
}
"""
USERS = "query($filter: UserFilter) { users(filter: $filter, first: 100) { edges { node { username } } } }"
NAMES = ("Ada Lovelace", "ada (the first)", "A.d.a", "$where", "^Ada$", "ADA*", "100% Ada_", "[a-z]+", "back\\slash")


@pytest.fixture
async def staff(own_site: Site) -> Person:
    """Who searches, among users with names that read like patterns and operators."""
    for n, name in enumerate(NAMES):
        await own_site.log.register(f"user{n}", name=name, attributes={"n": n})
    person = await own_site.person(Role.ADMIN)
    await own_site.caught_up()
    return person


def names(found: Json) -> list[str]:
    return sorted(edge["node"]["username"] for edge in found["edges"])


async def test_words_paths_and_filter_must_all_hold(staff: Person) -> None:
    """Each narrows what the others find, and the count says how many are left."""
    variables: dict[str, Any] = {"text": "ada", "where": [{"path": "n", "lt": 6}]}
    all_found = names(await staff.client.field(SEARCH, **variables))
    assert {"user0", "user1", "user4", "user5"} <= set(all_found)

    found = await staff.client.field(SEARCH, **variables, filter={"name": {"startsWith": "ada"}})
    assert (names(found), found["totalCount"]) == (["user0", "user1", "user5"], 3)
    nobody = await staff.client.field(SEARCH, **variables, filter={"role": {"eq": "ADMIN"}})
    assert (names(nobody), nobody["totalCount"]) == ([], 0)
    assert names(await staff.client.field(SEARCH, filter={"role": {"in": []}})) == []


TEXTS = st.sampled_from([*NAMES, "ada", "A", ".", ".*", "\\", "$", "^", "(", "[", "%", "_", "\0", "user", ""])
TESTS = st.fixed_dictionaries({}, optional={"eq": TEXTS, "contains": TEXTS, "startsWith": TEXTS})
FILTERS = st.recursive(
    st.one_of(
        st.builds(lambda test: {"name": test}, TESTS),
        st.builds(lambda test: {"username": test}, TESTS),
        st.just({"role": {"in": ["ADMIN", "CUSTOMER"]}}),
        st.just({"id": {"in": [str(UUID(int=7)), "no id"]}}),
        st.just({"createdAt": {"gte": "2020-01-01T00:00:00Z", "lt": "2999-01-01T00:00:00Z"}}),
    ),
    lambda inner: st.one_of(
        st.builds(lambda filters: {"or": filters}, st.lists(inner, max_size=3)),
        st.builds(lambda filters: {"and": filters}, st.lists(inner, max_size=3)),
        st.builds(lambda one: {"not": one}, inner),
    ),
    max_leaves=5,
)


async def test_both_views_find_the_same_users_by_a_filter(staff: Person) -> None:
    """Whatever the filter: no text in it is taken for a pattern or an operator."""
    examples: list[dict[str, Any]] = []

    @settings(max_examples=60, database=None, suppress_health_check=list(HealthCheck))
    @given(FILTERS)
    def collect(filter_: dict[str, Any]) -> None:
        examples.append(filter_)

    collect()
    for filter_ in examples:
        by_mysql = await staff.client.field(USERS, filter=filter_)
        by_mongodb = await staff.client.field(SEARCH, filter=filter_)
        assert names(by_mysql) == names(by_mongodb), filter_


WORLDLY = ("Ångström", "Jose\u0301", "Straße", "ŁÓDŹ", "Иван", "王小明", "O'Brien", 'say "hi"', "a\u00b7b", "😀 Ada")
HOSTILE = st.one_of(
    st.sampled_from([*WORLDLY, "ångström", "josé", "jose\u0301", "STRASSE", "łódź", "ИВАН", "\r\n", "ada\n", "|"]),
    st.text(st.sampled_from("adA.*+?^$|\\()[]{}#- \n\0éЖ王😀%_'\"/&~"), max_size=4),
    st.sampled_from(["$regex", "\\z", "\\Q", "(?i)", "(?#", "[[:alpha:]]", "\\x00"]),
)
OF_TEXT = st.fixed_dictionaries(
    {}, optional={"eq": HOSTILE, "in": st.lists(HOSTILE, max_size=3), "contains": HOSTILE, "startsWith": HOSTILE}
)
HOSTILE_FILTERS = st.recursive(
    st.builds(lambda test: {"name": test}, OF_TEXT),
    lambda inner: st.one_of(
        st.builds(lambda filters: {"or": filters}, st.lists(inner, max_size=3)),
        st.builds(lambda filters: {"and": filters}, st.lists(inner, max_size=3)),
        st.builds(lambda one: {"not": one}, inner),
    ),
    max_leaves=4,
)


def holds(filter_: dict[str, Any], name: str) -> bool:
    """A model of filters on names."""

    def folded(text: str) -> str:  # letter by letter, so ß stays
        return "".join(letter.lower() for letter in unicodedata.normalize("NFC", text))

    def is_name(text: str) -> bool:
        try:
            return folded(clean_name(text)) == folded(name)
        except Rejected:
            return False

    def of_text(kind: str, value: Any) -> bool:
        match kind:
            case "eq":
                return is_name(value)
            case "in":
                return any(map(is_name, value))
            case "contains":
                return folded(value) in folded(name)
            case _:
                return folded(name).startswith(folded(value))

    return all(
        all(of_text(*test) for test in value.items())
        if kind == "name"
        else any(holds(one, name) for one in value)
        if kind == "or"
        else all(holds(one, name) for one in value)
        if kind == "and"
        else not holds(value, name)
        for kind, value in filter_.items()
    )


async def test_a_search_finds_whom_a_model_finds(own_site: Site) -> None:
    """Whatever the text: patterns, operators, other scripts, NUL, and what no name can be."""
    for n, name in enumerate((*NAMES, *WORLDLY)):
        await own_site.log.register(f"user{n}", name=name)
    staff = await own_site.person(Role.ADMIN)
    await own_site.caught_up()
    users = [
        edge["node"]
        for edge in (await staff.client.field(SEARCH.replace("{ username }", "{ username name }")))["edges"]
    ]
    long = ("a" * 254, "a" * 255, "a" * 40_000, "王" * 254, "(" * 254, "e\u0301" * 254)
    examples = [{"name": {kind: text}} for kind in ("eq", "contains", "startsWith") for text in long]

    @settings(max_examples=150, database=None, suppress_health_check=list(HealthCheck))
    @given(HOSTILE_FILTERS)
    def collect(filter_: dict[str, Any]) -> None:
        examples.append(filter_)

    collect()
    for filter_ in examples:
        found = names(await staff.client.field(SEARCH, filter=filter_))
        assert found == sorted(user["username"] for user in users if holds(filter_, user["name"])), filter_


async def test_equal_usernames_and_emails_are_found_as_they_may_be_typed(own_site: Site) -> None:
    """Full-width letters, another case, a domain in its form of the DNS."""
    await own_site.log.register("Müller", email="mueller@bücher.example", name="Müller")
    staff = await own_site.person(Role.ADMIN)
    await own_site.caught_up()
    for filter_ in (
        {"username": {"eq": "MÜLLER"}},
        {"username": {"eq": "mu\u0308ller"}},
        {"username": {"in": ["nobody at all", "ｍüller"]}},
        {"email": {"eq": "MUELLER@xn--bcher-kva.example"}},
    ):
        assert names(await staff.client.field(SEARCH, filter=filter_)) == ["Müller"], filter_
        assert names(await staff.client.field(USERS, filter=filter_)) == ["Müller"], filter_


async def test_a_filter_that_is_too_large_is_refused(staff: Person) -> None:
    """As by `users`."""
    filter_ = {"or": [{"name": {"eq": "a"}}] * 500}
    assert await staff.client.refused(SEARCH, filter=filter_) == ["BAD_USER_INPUT"]
