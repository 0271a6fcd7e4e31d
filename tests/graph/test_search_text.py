"""`searchUsers(text:)`: words over all that a user has, and paging through hits that are equally good."""

from uuid import uuid4

import pytest
import pytest_asyncio

from events.event_types import Role
from tests.graph.client import Json
from tests.graph.crowd import Crowd, gather
from tests.graph.documents import LIST, SEARCH, UPDATE
from tests.graph.site import Site

PEOPLE: dict[str, Json] = {
    "ann": {"name": "Zo\u00eb M\u00fcller", "attributes": {"address": {"city": "Kuala Lumpur"}}},
    "bob": {"name": "Bob", "attributes": {"notes": ["likes Kuala", {"deep": [["Penang"]]}], "kedah": 1}},
    "cid": {"name": "Mary-Jane O'Hara", "attributes": {"motto": "to be or not to be"}},
    "dan": {"name": "\u05d3\u05e0\u05d9\u05d0\u05dc \u5f20\u4f1f", "attributes": {"year": 1999, "text": "1999"}},
}


@pytest_asyncio.fixture(scope="module")
async def crowd(shared_site: Site) -> Crowd:
    """Ann, Bob, Cid and Dan."""
    return await gather(shared_site, PEOPLE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "abcd"),
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


@pytest.mark.parametrize("text", ['"', "\\", " \t\n ", '""""', "", "-", "\x00", "\u202e\u200d"])
async def test_a_text_without_a_word_asks_for_everybody(site: Site, crowd: Crowd, text: str) -> None:
    """As if it had been left out."""
    page = await crowd.staff.field(SEARCH, text=text, where=[crowd.marked])

    assert page["totalCount"] == 4


@pytest.mark.parametrize("text", ["x" * 100_000, "nowhere " * 2_000, "{$where: 1}", "' OR 1=1"])
async def test_any_text_can_be_searched_for(site: Site, crowd: Crowd, text: str) -> None:
    """Nothing is found, and nothing goes wrong."""
    assert await crowd.found(text=f"{crowd.mark} {text}") == ""


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
