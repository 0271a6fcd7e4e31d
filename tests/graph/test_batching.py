"""One sign-in to a document: aliases and fragments do not make one request a hundred guesses."""

import pytest

from tests.graph.client import answer_of
from tests.graph.site import PASSWORD, Site

LOGIN = 'login(input: {login: "ada", password: "x"}) { errors { code } }'
REFRESH = 'refreshSession(refreshToken: "x") { errors { code } }'

MANY = {
    "aliases": f"mutation {{ a: {LOGIN} b: {LOGIN} }}",
    "another one": f"mutation {{ {LOGIN} {REFRESH} }}",
    "a fragment": f"mutation {{ a: {LOGIN} ...F }} fragment F on Mutation {{ b: {LOGIN} }}",
    "nested fragments": (
        f"mutation {{ a: {LOGIN} ...F }} fragment F on Mutation {{ ...G }} fragment G on Mutation {{ b: {LOGIN} }}"
    ),
    "inline fragments": f"mutation {{ ... {{ a: {LOGIN} }} ... on Mutation {{ ... {{ b: {LOGIN} }} }} }}",
    "a skipped one": f"mutation {{ a: {LOGIN} b: {LOGIN.replace(') {', ') @skip(if: true) {')} }}",
    "the other operation": f"mutation A {{ {REFRESH} }} mutation B {{ a: {LOGIN} b: {LOGIN} }}",
}

ONE = {
    "one": f"mutation {{ {LOGIN} }}",
    "one key": f"mutation {{ {LOGIN} {LOGIN} }}",
    "one fragment twice": f"mutation {{ ...F ...F }} fragment F on Mutation {{ {LOGIN} }}",
    "an operation each": f"mutation A {{ {REFRESH} }} mutation B {{ {LOGIN} }}",
}


async def messages(site: Site, document: str) -> list[str]:
    async with site.session.post(site.anyone.url, json={"query": document, "operationName": None}) as response:
        return [error["message"] for error in (await answer_of(response)).body.get("errors", [])]


@pytest.mark.parametrize("document", MANY.values(), ids=MANY)
async def test_a_document_with_several_sign_ins_is_refused(site: Site, document: str) -> None:
    """Before any of them runs, however they are written."""
    found = await messages(site, document)

    assert any(message.startswith("a document may sign in once") for message in found)


@pytest.mark.parametrize("document", ONE.values(), ids=ONE)
async def test_a_document_with_one_sign_in_is_not(site: Site, document: str) -> None:
    """What is merged into one field is one."""
    assert not [message for message in await messages(site, document) if "sign in once" in message]


async def test_fragments_in_a_circle_are_refused_as_such(site: Site) -> None:
    """The search for sign-ins terminates."""
    document = f"mutation {{ ...F }} fragment F on Mutation {{ {LOGIN} ...G }} fragment G on Mutation {{ ...F }}"

    assert any("within itself" in message for message in await messages(site, document))


async def test_the_same_holds_on_a_socket(site: Site) -> None:
    """The operation ends with the error, and the socket goes on."""
    async with site.anyone.socket() as socket:
        id_ = await socket.subscribe(MANY["aliases"])
        message = await socket.receive()

        assert (message["type"], message["id"]) == ("error", id_)
        assert message["payload"][0]["message"].startswith("a document may sign in once")


async def test_nothing_of_a_refused_document_was_tried(site: Site) -> None:
    """The right password in it gives no session."""
    person = await site.person()
    login = f'login(input: {{login: "{person.username}", password: "{PASSWORD}"}}) {{ session {{ accessToken }} }}'

    answer = await site.anyone.ask(f"mutation {{ a: {login} b: {login} }}")

    assert "data" not in answer.body
