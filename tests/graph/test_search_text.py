"""`searchUsers(text:)`: words over all that a user has, and paging through hits that are equally good."""

from contextlib import suppress
from typing import Final
from unicodedata import normalize
from uuid import uuid4

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from events.errors import Rejected
from events.event_types import Role
from tests.graph.client import Json
from tests.graph.crowd import Crowd, gather
from tests.graph.documents import LIST, SEARCH, UPDATE
from tests.graph.hostile import bounded
from tests.graph.site import Site

PEOPLE: dict[str, Json] = {
    "ann": {"name": "Zo\u00eb M\u00fcller", "attributes": {"address": {"city": "Kuala Lumpur"}}},
    "bob": {"name": "Bob", "attributes": {"notes": ["likes Kuala", {"deep": [["Penang"]]}], "kedah": 1}},
    "cid": {"name": "Mary-Jane O'Hara", "attributes": {"motto": "to be or not to be"}},
    "dan": {"name": "\u05d3\u05e0\u05d9\u05d0\u05dc \u5f20\u4f1f", "attributes": {"year": 1999, "text": "1999"}},
    "eve": {
        "name": "\u0130brahim \u0141\u00f3d\u017a",
        "attributes": {"of": "\u0110\u1eb7ng \u00d8rsted \u00c6r\u00f8 Stra\u00dfe"},
    },
    "fay": {
        "name": "\u0917\u0940\u0924\u093e \u0936\u0930\u094d\u092e\u093e",
        "attributes": {"thai": "\u0e01\u0e34\u0e19 \u0e02\u0e49\u0e32\u0e27"},
    },
    "gus": {
        "name": "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd \u0bae\u0bca\u0bb4\u0bbf \U0001f389",
        "attributes": {"shalom": "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd"},
    },
}


@pytest_asyncio.fixture(scope="module")
async def crowd(shared_site: Site) -> Crowd:
    """Ann, Bob, Cid, Dan, Eve, Fay and Gus."""
    return await gather(shared_site, PEOPLE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "abcdefg"),
        ("kuala", "ab"),
        ("KUALA lumpur", "a"),
        ("lumpur kuala", "a"),
        ("kuala penang", "b"),
        ("kuala nowhere", ""),
        ("zoe muller", "a"),
        ("ZO\u00cb M\u00dcLLER", "a"),
        ("zoe\u0308", "a"),
        ("penang", "b"),
        ("kedah", ""),
        ("kual", ""),
        ("not to be", "c"),
        ("mary-jane", "c"),
        ("jane", "c"),
        ("o'hara", "c"),
        ("\u05d3\u05e0\u05d9\u05d0\u05dc", "d"),
        ("\u5f20\u4f1f", "d"),
        ("1999", "d"),
        ("ibrahim", "e"),
        ("\u0130BRAH\u0130M", "e"),
        ("lodz", "e"),
        ("\u0141\u00d3D\u0179", "e"),
        ("dang orsted aero strasse", "e"),
        ("\u0917\u0940\u0924\u093e", "f"),
        ("\u0936\u0930\u094d\u092e\u093e", "f"),
        ("\u0917\u0924", ""),
        ("\u0917\u0940\u0924", ""),
        ("\u0e01\u0e34\u0e19", "f"),
        ("\u0e02\u0e49\u0e32\u0e27", "f"),
        ("\u0ba4\u0bae\u0bbf\u0bb4\u0bcd", "g"),
        ("\u0bae\u0bca\u0bb4\u0bbf", "g"),
        ("\u0bae\u0bc6\u0bbe\u0bb4\u0bbf", "g"),
        ("\u05e9\u05dc\u05d5\u05dd", "g"),
    ],
)
async def test_all_words_must_occur_without_regard_to_case_and_accents(
    site: Site, crowd: Crowd, text: str, expected: str
) -> None:
    """Whole words of any script, in any order and field; the texts inside attributes count, their keys do not."""
    assert await crowd.found(text=f"{crowd.mark} {text}") == expected


@pytest.mark.parametrize(
    "text", ["-kuala", '-"kuala"', '"kuala', 'kuala"', '"kuala lumpur" -penang', "\\kuala", "$kuala"]
)
async def test_quotes_and_signs_are_no_operators(site: Site, crowd: Crowd, text: str) -> None:
    """A minus does not negate the search, and an unclosed quote is no error."""
    assert set(await crowd.found(text=f"{crowd.mark} {text}")) <= set("ab")


@pytest.mark.parametrize("text", ["", " \t\n ", "\u00a0\u2003"])
async def test_a_text_of_white_space_is_no_condition(site: Site, crowd: Crowd, text: str) -> None:
    """As if it had been left out: a search box that is empty."""
    page = await crowd.staff.field(SEARCH, text=text, where=[crowd.marked])

    assert page["totalCount"] == len(PEOPLE)


@pytest.mark.parametrize("text", ['"', "\\", '""""', "-", "\x00", "\u202e\u200d", "\U0001f389", "\u2764\ufe0f !"])
async def test_a_text_without_a_word_finds_nobody(site: Site, crowd: Crowd, text: str) -> None:
    """An emoji or a sign is in no word, also where a name has it."""
    page = await crowd.staff.field(SEARCH, text=text, where=[crowd.marked])

    assert (page["totalCount"], page["edges"]) == (0, [])


@pytest.mark.parametrize("text", ["x" * 900, "nowhere " * 100, "{$where: 1}", "' OR 1=1"])
async def test_any_text_can_be_searched_for(site: Site, crowd: Crowd, text: str) -> None:
    """Nothing is found, and nothing goes wrong."""
    assert await crowd.found(text=f"{crowd.mark} {text}") == ""


async def test_a_text_has_a_greatest_length(site: Site, crowd: Crowd) -> None:
    """A thousand characters are searched for, one more is refused with the number."""
    assert (await crowd.staff.field(SEARCH, text="x" * 1_000))["totalCount"] == 0
    answer = await crowd.staff.ask(SEARCH, text="x" * 1_001)

    assert (answer.codes, answer.message) == (["BAD_USER_INPUT"], "text: at most 1,000 characters, found 1,001")


async def test_the_words_of_usernames_names_and_emails_come_before_those_of_attributes(site: Site) -> None:
    """Best hits first: who is called so stands before who merely mentions it."""
    word = f"word{uuid4().hex[:12]}"
    mentions = await site.person(attributes={"friend": word})
    has_email = await site.person(email=f"{word}@example.com")
    is_called = await site.person(name=word)
    staff = await site.person(Role.TECHNICAL_WORKER)
    await site.caught_up()

    page = await staff.client.field(SEARCH, text=word)

    found = [edge["node"]["id"] for edge in page["edges"]]
    assert found == [is_called.id, has_email.id, mentions.id]


SCRIPTS: Final = [
    "Latin",
    *"\u0905\u0915\u093e\u093f\u0940\u094d\u0902\u093c",  # Devanagari
    *"\u0e01\u0e31\u0e34\u0e49\u0e33\u0e02",  # Thai
    *"\u0ba4\u0bae\u0bbf\u0bb4\u0bcd\u0bc6\u0bbe",  # Tamil
    *"\u05e9\u05b8\u05c1\u0628\u064e\u0651\u0622",  # Hebrew and Arabic with points
    *"\ud55c\uae00\u304c\u30d1\u5f20\ufa10",  # Korean, Japanese, Chinese
    *"\u0130\u0131\u00df\u1e9e\u0110\u0141\u00d8\u00c6\u0149\u01c5\ufb03\u1f80\u03c2",  # letters that fold into others
    *"\u2116\u00bd\ufdfa\u00aa\u2460",  # compatibility forms
    *" -.'_\u00a0\u00b4\u200c\u200d\u00ad\ufe0f\U0001f389\u0301\u0345",
]
NAMES: Final = st.one_of(
    st.lists(st.sampled_from(SCRIPTS), min_size=1, max_size=20).map("".join),
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), min_size=1, max_size=20),
)


@bounded(5)
@given(names=st.lists(NAMES, min_size=30, max_size=30))
async def test_each_word_of_a_users_name_finds_the_user(site: Site, crowd: Crowd, names: list[str]) -> None:
    """Of any script, in capitals and in small letters, composed and decomposed, through the MongoDB view."""
    mark = f"mark{uuid4().hex[:12]}"
    people = []
    for name in names:
        with suppress(Rejected):
            people.append(await site.person(name=f"{mark} {name}"))
    await site.caught_up()

    for person in people:
        for word in person.user.name.split():
            for form in {word, word.upper(), word.lower(), normalize("NFD", word), normalize("NFC", word)}:
                page = await crowd.staff.field(SEARCH, text=f"{mark} {form}", first=100)
                assert person.id in {edge["node"]["id"] for edge in page["edges"]}, (person.user.name, form)


async def test_a_change_is_found_and_what_it_replaced_is_not(site: Site) -> None:
    """The view follows the user: new words find it, old ones no longer do, and both views say the same of it."""
    old, new = f"old{uuid4().hex[:12]}", f"new{uuid4().hex[:12]}"
    person = await site.person(attributes={"word": old, "list": [old]})
    staff = await site.person(Role.TECHNICAL_WORKER)
    await person.client.field(UPDATE, input={"id": person.id, "attributes": {"word": new, "list": None}})
    await site.caught_up()

    (hit,) = (await staff.client.field(SEARCH, text=new))["edges"]
    (row,) = (await staff.client.field(LIST, filter={"username": {"eq": person.username}}))["edges"]

    assert (await staff.client.field(SEARCH, text=old))["totalCount"] == 0
    assert hit["node"] == row["node"]


@pytest.mark.parametrize("size", [1, 4, 7, 100])
async def test_paging_meets_every_hit_once_also_among_equal_scores(site: Site, crowd: Crowd, size: int) -> None:
    """Twelve users who are equally good hits, and four better ones: each on one page, best first, then oldest first."""
    text = f"page{uuid4().hex[:12]}"
    equal = [await site.person(attributes={"word": text}) for _ in range(12)]
    better = [await site.person(name=text) for _ in range(4)]
    await site.caught_up()
    met: list[str] = []
    after = None
    while True:
        page = await crowd.staff.field(SEARCH, text=text, first=size, after=after)
        met += [edge["node"]["id"] for edge in page["edges"]]
        assert page["totalCount"] == 16
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]

    assert met == [person.id for person in [*better, *equal]]
