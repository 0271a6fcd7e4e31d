"""GraphiQL comes whole from this program, and its page may run no script from anywhere else."""

import hashlib
import json
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from graphql import OperationDefinitionNode, parse

from graph import graphiql

DIRECTORY = Path(graphiql.__file__).parent

TYPE_OF_SUFFIX = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


class References(HTMLParser):
    """What a page loads, and what it would run inline."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.addresses += [address for name in ("src", "href") if (address := given.get(name))]
        self.inline += [name for name in given if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)


def policy_of(response: web.StreamResponse) -> dict[str, list[str]]:
    directives = response.headers["Content-Security-Policy"].split("; ")
    return {name: sources for name, *sources in (directive.split() for directive in directives)}


@pytest.fixture
def page() -> web.Response:
    return graphiql.page()


@pytest.fixture
def references(page: web.Response) -> References:
    assert page.text is not None
    return References(page.text)


@pytest.fixture
async def client() -> AsyncIterator[TestClient[web.Request, web.Application]]:
    app = web.Application()
    graphiql.add_routes(app)
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_every_file_of_the_page_is_served_with_its_type_to_be_kept_for_ever(
    client: TestClient[web.Request, web.Application], references: References
) -> None:
    """Each address in the page, seen from /graphql, answers its file's bytes, typed, immutable and unsniffable."""
    files = [address for address in references.addresses if not address.startswith("data:")]
    assert {Path(file).name for file in files} == {"graphiql.css", "graphiql.js"}

    for file in files:
        response = await client.get(urljoin("/graphql", file))

        assert response.status == 200
        assert await response.read() == (DIRECTORY / "assets" / Path(file).name).read_bytes()
        assert response.headers["Content-Type"] == TYPE_OF_SUFFIX[Path(file).suffix]
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_an_address_names_one_content_only(
    client: TestClient[web.Request, web.Application], references: References
) -> None:
    """An asset's address holds its content's hash, and no other hash is answered."""
    for file in (file for file in references.addresses if not file.startswith("data:")):
        digest = hashlib.sha256((DIRECTORY / "assets" / Path(file).name).read_bytes()).hexdigest()
        assert f"/{digest[:16]}/" in file

        response = await client.get(urljoin("/graphql", file.replace(digest[:16], "0" * 16)))

        assert response.status == 404


def test_the_page_is_html_that_is_asked_for_anew_each_time(page: web.Response) -> None:
    """The page is never kept or mistaken for the API's answer, so new assets are found at once."""
    assert page.content_type == "text/html"
    assert page.headers["Cache-Control"] == "no-cache"
    assert page.headers["Vary"] == "Accept"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.text is not None
    assert "<title>Rollcall GraphiQL</title>" in page.text


def test_nothing_is_loaded_from_another_origin(page: web.Response, references: References) -> None:
    """Page, style sheet and policy name no other host, so GraphiQL works without the Internet."""
    style_sheet = (DIRECTORY / "assets" / "graphiql.css").read_text()

    assert [address for address in references.addresses if re.match(r"(?!data:)\w+:|//", address)] == []
    assert "@import" not in style_sheet
    assert set(re.findall(r"url\(\"?(.{5})", style_sheet)) == {"data:"}
    sources = {source for sources in policy_of(page).values() for source in sources}
    assert sources == {"'none'", "'self'", "'unsafe-inline'", "data:"}


def test_no_script_runs_but_our_own_files(page: web.Response, references: References) -> None:
    """Injected markup runs nothing: scripts come from our origin only, neither inline nor by eval."""
    policy = policy_of(page)

    assert references.inline == []
    assert policy["default-src"] == ["'none'"]
    assert policy["script-src"] == ["'self'"]
    assert policy["connect-src"] == ["'self'"]
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == ["'none'"]
    assert "data:" not in policy["style-src"]


def test_files_have_their_listed_checksums() -> None:
    """The bundle, its licences and the sources it was built from are byte for byte those of one build."""
    lines = (line.split("  ") for line in (DIRECTORY / "SHA256SUMS").read_text().splitlines())
    listed = {name: digest for digest, name in lines}
    present = {f"assets/{path.name}" for path in (DIRECTORY / "assets").iterdir()}

    assert {name for name in listed if name.startswith("assets/")} == present
    assert {"LICENSES.txt", "src/main.js", "src/package-lock.json", "src/welcome.graphql"} < listed.keys()
    for name, digest in listed.items():
        found = hashlib.sha256((DIRECTORY / name).read_bytes()).hexdigest()
        assert found == digest, f"{name} changed: run `npm run build` in graph/graphiql/src"


def test_versions_are_pinned_and_their_licences_included() -> None:
    """Each package that main.js is made of has one exact version, and LICENSES.txt covers that version."""
    dependencies = json.loads((DIRECTORY / "src" / "package.json").read_text())["devDependencies"]
    licences = (DIRECTORY / "LICENSES.txt").read_text()

    for name, version in dependencies.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
        assert name == "esbuild" or f"\n{name}@{version}\n" in licences
    for typeface in ("Roboto", "Fira Code"):
        assert typeface in licences


def test_files_tell_nothing_of_where_they_were_built() -> None:
    """The lock file leaves the choice of registry to the build, and the bundle points at no source map."""
    lock = json.loads((DIRECTORY / "src" / "package-lock.json").read_text())
    script = (DIRECTORY / "assets" / "graphiql.js").read_text()

    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
    assert all("integrity" in package for name, package in lock["packages"].items() if name)
    assert "sourceMappingURL" not in script


def test_the_editor_opens_with_signing_in() -> None:
    """The first text shows how to get a token, how to use it, and a live subscription."""
    welcome = (DIRECTORY / "src" / "welcome.graphql").read_text()

    operations = [node for node in parse(welcome).definitions if isinstance(node, OperationDefinitionNode)]

    assert [operation.operation.value for operation in operations] == ["mutation", "query", "subscription"]
    assert '{ "Authorization": "Bearer ACCESS_TOKEN" }' in welcome
    assert welcome.splitlines()[-1] in (DIRECTORY / "assets" / "graphiql.js").read_text()
