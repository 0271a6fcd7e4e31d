"""No document can ask for more than the server is ready to do; what clients really send is far below the limits."""

from typing import Any

import pytest
from graphql import (
    DocumentNode,
    OverlappingFieldsCanBeMergedRule,
    get_introspection_query,
    parse,
    validate,
)
from graphql.validation.rules import overlapping_fields_can_be_merged

from graph import documents as documents_module
from graph import limits
from graph.documents import CACHE_CHARACTERS, DocumentCache
from graph.limits import QuickToMerge
from graph.schema import make_schema
from tests.graph import documents as sent
from tests.graph.site import Site
from tests.work import calls

SCHEMA = make_schema()._schema


def faults(document: str) -> list[str]:
    """What is wrong with a document."""
    return [fault.message for fault in DocumentCache().checked(SCHEMA, document).faults]


def nested(levels: int) -> str:
    """Introspection of the type of a type of a type, with this number of levels of fields."""
    return "{ __schema { types { fields { type { " + "ofType { " * (levels - 5) + "name" + " }" * levels


def fields(count: int) -> str:
    return " ".join(["id"] * count)


AT_THE_LIMIT = {
    "levels": nested(16),
    "aliases": "{ " + " ".join(f"a{n}: __typename" for n in range(15)) + " me { "
    + " ".join(f"b{n}: id" for n in range(15)) + " } }",
    "root fields": "{ " + "__typename " * 20 + "}",
    "width": f"{{ me {{ {fields(60)} }} }}",
    "directives": "{ me { " + "id @include(if: true) " * 50 + "} }",
    "cost": "{ a: users(first: 99) { edges { node { id } } } " + " ".join(
        f"b{n}: users(first: 100) {{ edges {{ cursor node {{ id name email username role version position }} }} }}"
        for n in range(19)) + " }",
    "one large page": "{ users(first: 6666) { edges { node { id } } } }",
    "days by a variable": "query ($n: Int) { " + " ".join(
        f"b{n}: statistics {{ registrationsByDay(days: $n) {{ day count }} }}" for n in range(20)) + " }",
    "pairs": "{ " + "users { " + "edges { node { id } } " * 57 + "} }",
    "several operations": " ".join(f"query Q{n} {{ users(first: 100) {{ {sent.PAGE} }} }}" for n in range(10)),
    "introspection": get_introspection_query(input_value_deprecation=True, directive_is_repeatable=True),
    "the largest page": f"{{ users(first: 100) {{ {sent.PAGE} }} }}",
    "time travel": "query ($at: Position) { " + " ".join(
        f'b{n}: user(id: "x", atPosition: $at) {{ {sent.USER} }}' for n in range(4)) + " }",
    "no time travel": "{ " + " ".join(f'b{n}: user(id: "x", asOf: null) {{ id }}' for n in range(20)) + " }",
}  # fmt: skip


@pytest.mark.parametrize("document", AT_THE_LIMIT.values(), ids=AT_THE_LIMIT.keys())
def test_what_is_just_within_the_limits_goes_through(document: str) -> None:
    """Tools' introspection and the largest page among them."""
    assert faults(document) == []


NODES = "{ edges { cursor node { id name email username role version position } } }"
EVENTS_OF_A_PAGE = "history { edges { node { id position userId version type changedFields actorId recordedAt } } }"
BEYOND = {
    nested(17): "17 levels of fields and may have 16",
    "{ me { " + " ".join(f"b{n}: id" for n in range(31)) + " } }": "31 aliases and may have 30",
    "{ " + " ".join(f"m{n}: me {{ ...A }}" for n in range(11)) + " } fragment A on User { a: id b: id }":
        "33 aliases and may have 30",
    "{ " + "__typename " * 21 + "}": "21 fields at its root and may have 20",
    "{ ...A ...A ...A } fragment A on Query { __typename me { id } __typename __typename __typename __typename "
    "__typename }": "21 fields at its root and may have 20",
    f"{{ me {{ {fields(61)} }} }}": "61 fields in one selection and may have 60",
    f"{{ me {{ ...A ... on User {{ {fields(30)} }} }} }} fragment A on User {{ {fields(31)} }}":
        "61 fields in one selection",
    "{ me { " + "id @include(if: true) " * 51 + "} }": "51 directives and may have 50",
    "{ me { " + "...A @include(if: true) " * 26 + "} } fragment A on User { id @skip(if: false) }":
        "52 directives and may have 50",
    "{ users(first: 6667) { edges { node { id } } } }": "20,002 fields in the answer",
    "{ users(first: 99999999999999) { edges { node { id } } } }": "Int cannot represent",
    "query ($n: Int) { " + " ".join(f"b{n}: users(first: $n) {NODES}" for n in range(20)) + " }":
        "20,020 fields in the answer",
    "query ($n: Int) { users(first: 1, last: $n) { edges { node { history(first: 100) { edges { cursor node { id } } } "
    "} } } }": "42,301 fields in the answer",
    "{ a: users { edges { node { " + EVENTS_OF_A_PAGE + " } } } b: users(first: null) { edges { node { "
    + EVENTS_OF_A_PAGE + " } } } c: searchUsers { edges { node { " + EVENTS_OF_A_PAGE + " } } } d: events(first: null) "
    "{ edges { node { id version type position userId changedFields actorId recordedAt } } } e: searchUsers(first: 100)"
    "{ edges { node { " + EVENTS_OF_A_PAGE + " } } } }": "36,685 fields in the answer",
    "{ low: users(first: -999999) { edges { node { id } } } users(first: 6667) { edges { node { id } } } }":
        "20,006 fields in the answer",
    "query ($n: Int) { " + " ".join(
        f"b{n}: statistics {{ registrationsByDay(days: $n) {{ a: day day count }} }}" for n in range(19)) + " }":
        "22,838 fields in the answer",
    " ".join(f"query Q{n} {{ users(first: 100) {NODES} }}" for n in range(20)): "20,020 fields in the answer",
    "{ users { " + "edges { node { id } } " * 59 + "} }": "5,133 pairs of fields to merge and may have 5,000",
    "query ($at: DateTime) { " + " ".join(f'b{n}: user(id: "x", asOf: $at) {{ id }}' for n in range(5)) + " }":
        "20,010 fields in the answer",
    "{ " + " ".join(f'b{n}: user(id: "x", atPosition: "1") {{ id }}' for n in range(20)) + " }":
        "80,040 fields in the answer",
    "{ me { id } } fragment A on User { " + fields(500) + " }": "Fragment 'A' is never used.",
    "{ me { ...A } } fragment A on User { id } fragment A on User { " + fields(500) + " }":
        "There can be only one fragment named 'A'.",
    "mutation { a: logout { loggedOut } " + " ".join(
        f'l{n}: login(input: {{login: "a", password: "b"}}) {{ user {{ id }} }}' for n in range(2)) + " }":
        "a document may sign in once",
}  # fmt: skip


@pytest.mark.parametrize(
    ("document", "message"), BEYOND.items(), ids=[message.replace(" ", "-") for message in BEYOND.values()]
)
def test_what_is_beyond_a_limit_is_refused_by_its_measure(document: str, message: str) -> None:
    """Fragments count wherever they are spread, a variable for the most that it can be, what is left out or null for
    its default, and what is less than nothing takes nothing off the rest.
    """
    assert any(message in fault for fault in faults(document))


@pytest.mark.parametrize(
    ("document", "message"), BEYOND.items(), ids=[message.replace(" ", "-") for message in BEYOND.values()]
)
async def test_the_same_limits_hold_on_a_socket(site: Site, document: str, message: str) -> None:
    """The operation ends with what HTTP says, and the socket goes on."""
    async with site.anyone.socket() as socket:
        id_ = await socket.subscribe(document)
        answer = await socket.receive()
        assert (answer["type"], answer["id"]) == ("error", id_)
        assert any(message in error["message"] for error in answer["payload"])

        assert await socket.next(await socket.subscribe(sent.ME)) == {"me": None}


def merging(users: int, edges: int, nodes: int) -> str:
    """The same field this number of times, on three levels."""
    inner = "users { " + ("edges { " + "node { id } " * nodes + "} ") * edges + "} "
    return "{ " + inner * users + "}"


def calls_to_check(document: str) -> int:
    """Function calls that it takes to check a document: a measure of the work on any machine."""
    return calls(lambda: faults(document))


@pytest.fixture(scope="module")
def most_calls() -> int:
    """The work that the most expensive document within the limits takes."""
    return max(map(calls_to_check, AT_THE_LIMIT.values()))


@pytest.mark.parametrize("document", [merging(20, 5, 4), merging(1, 20, 20), merging(1, 30, 14)], ids=len)
def test_documents_that_merge_slowly_are_refused_at_once(document: str, most_calls: int) -> None:
    """Fields of one name are compared pair by pair: without the limit these take fifteen times the work allowed."""
    assert "pairs of fields to merge" in faults(document)[0]
    assert calls_to_check(document) < 2 * most_calls


@pytest.mark.parametrize("document", [merging(2, 3, 4), merging(1, 5, 5), AT_THE_LIMIT["pairs"]], ids=len)
def test_the_limit_counts_the_comparisons_that_validation_makes(monkeypatch: pytest.MonkeyPatch, document: str) -> None:
    """So no document is compared more often than the limit says."""
    compared: list[object] = []
    compare = overlapping_fields_can_be_merged.find_conflict

    def watched(*arguments: Any) -> Any:
        compared.append(arguments)
        return compare(*arguments)

    monkeypatch.setattr(overlapping_fields_can_be_merged, "find_conflict", watched)
    monkeypatch.setattr(limits, "PAIRS", 0)
    [refused] = validate(SCHEMA, parse(document), [QuickToMerge])

    validate(SCHEMA, parse(document), [OverlappingFieldsCanBeMergedRule])

    assert refused.message.startswith(f"this document has {len(compared):,} pairs of fields to merge")


def test_many_operations_that_spread_one_fragment_are_measured_together(most_calls: int) -> None:
    """Each is walked through, so what they may have in common is bounded, not only what each of them has."""
    history = "history { edges { node { id } } } "
    shared = f"fragment A on User {{ {history} {history} {history} }}"
    operations = " ".join(f"query Q{number} {{ me {{ ...A }} }}" for number in range(200))
    document = f"{operations} {shared}"

    assert "fields in the answer" in faults(document)[0]
    assert calls_to_check(document) < 2 * most_calls


def test_fragments_that_double_are_measured_at_once() -> None:
    """Sixty fragments, each spread twice in the one before it: 2^60 fields, measured at once."""
    chain = " ".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(60))

    assert "fields at its root" in faults(f"{{ ...F0 }} {chain} fragment F60 on Query {{ me {{ id }} }}")[0]


def test_documents_that_take_long_to_check_are_refused_before_that() -> None:
    """Fields of one name are compared pair by pair; the limits are checked first, and alone."""
    found = faults("{ " + "me { id nothing } " * 250 + "}")

    assert found[0] == "this document has 250 fields at its root and may have 20"
    assert not any("nothing" in fault for fault in found)


@pytest.mark.parametrize(
    ("fragments", "fault"),
    [
        ("fragment A on User { id } fragment B on User { id nothing }", "Fragment 'B' is never used."),
        ("fragment A on User { ...A }", "Cannot spread fragment 'A' within itself."),
        (
            "fragment A on User { ...B } fragment B on User { ...A }",
            "Cannot spread fragment 'A' within itself via 'B'.",
        ),
        ("fragment A on User { id } fragment A on User { nothing }", "There can be only one fragment named 'A'."),
    ],
)
def test_a_fragment_that_would_not_be_measured_is_refused_before_it_is_looked_into(fragments: str, fault: str) -> None:
    """One that no operation reaches, one inside itself, and the second one of a name."""
    assert faults(f"{{ me {{ nothing ...A }} }} {fragments}") == [fault]


@pytest.mark.parametrize(
    "document",
    ["{ " + "me " * 2_000 + "}", "#" * 60_000, "#\n" * 600 + "{ me { id } }", "{" * 300],
    ids=["tokens", "characters", "comments", "nesting"],
)
async def test_a_document_that_is_too_long_to_parse_is_refused_clearly(site: Site, document: str) -> None:
    """With an error of GraphQL's form."""
    answer = await site.anyone.ask(document)

    assert answer.status == 200
    assert "data" not in answer.body
    assert answer.body["errors"][0]["message"].startswith(("Syntax Error", "Document contains", "Source"))


async def test_a_refusal_has_a_code(site: Site) -> None:
    """BAD_REQUEST, as for every request that could not be executed."""
    answer = await site.anyone.ask(nested(17))

    assert [error["extensions"]["code"] for error in answer.body["errors"]] == ["BAD_REQUEST"]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were parsed."""
    texts: list[str] = []

    def watched(text: str, **limits: int) -> DocumentNode:
        texts.append(text)
        return parse(text, **limits)  # type: ignore[arg-type]

    monkeypatch.setattr(documents_module, "parse", watched)
    return texts


def test_a_document_is_parsed_and_checked_once(parsed: list[str]) -> None:
    """However often it is sent, right or wrong."""
    documents = DocumentCache()

    for _ in range(3):
        documents.checked(SCHEMA, "{ me { id } }")
        assert documents.checked(SCHEMA, "{ me { nothing } }").faults

    assert len(parsed) == 2


def test_cached_documents_are_bounded(parsed: list[str]) -> None:
    """The least recently used are forgotten first, and huge ones are never remembered."""
    documents = DocumentCache()
    documents.checked(SCHEMA, "{ me { id } }")
    for number in range(60):
        documents.checked(SCHEMA, f"{{ me {{ id }} }} # {number} {'x' * 9_000}")
        documents.checked(SCHEMA, "{ me { id } }")
    documents.checked(SCHEMA, f"{{ me {{ id }} }} # {'x' * 12_000}")

    assert parsed.count("{ me { id } }") == 1
    assert sum(map(len, documents._cached)) < documents._cached.currsize <= CACHE_CHARACTERS
    assert max(map(len, documents._cached)) <= 10_000


def test_short_documents_are_bounded_too() -> None:
    """Parsed, each of them takes more than its few characters would let one think."""
    documents = DocumentCache()
    checked = documents.checked(SCHEMA, "{ me { id } }")

    for number in range(20_000):
        documents._cached[str(number)] = checked

    assert len(documents._cached) <= CACHE_CHARACTERS // 25


@pytest.mark.parametrize(
    "document",
    ["{ usrs { totalCount } }", "{ users(frst: 1) { totalCount } }", "{ me { ...A } } fragment A on Usr { id }"],
)
def test_nobody_is_told_of_names_that_would_be_right(document: str) -> None:
    """A schema is not revealed by guessing."""
    assert "Did you mean" not in " ".join(faults(document))


async def test_nobody_is_told_of_values_that_would_be_right(site: Site) -> None:
    """Not for variables either."""
    answer = await site.anyone.ask("query ($o: UserOrder) { users(orderBy: $o) { totalCount } }", o={"field": "NAM"})

    assert "Did you mean" not in str(answer.body)
