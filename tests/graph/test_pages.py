"""The pages for people: which paths answer them, as what, and what no other page can do with them.

These tests read the directory of built files, so they hold for every build.
"""

import gzip
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientResponse, ClientSession
from yarl import URL

from graph import pages
from tests.graph.site import DEVELOPMENT, Site, served

PATHS = [path.replace("{rest:.+}", "0190d7c2-0000-7000-8000-000000000000/any") for path in pages.PATHS]
FILES = {
    path.relative_to(pages.DIRECTORY).as_posix(): path.read_bytes()
    for path in pages.DIRECTORY.rglob("*")
    if path.is_file()
}
COMPRESSED = (".br", ".gz")
LOADED = sorted(name for name in FILES if not name.endswith(COMPRESSED) and name != pages.DOCUMENT)
IMMUTABLE = "public, max-age=31536000, immutable"
DOCUMENT = FILES[pages.DOCUMENT]


async def get(site: Site, path: str, method: str = "GET", **headers: str) -> tuple[ClientResponse, bytes]:
    """The answer as it goes over the wire: with the path as it is written, and not decompressed."""
    url = URL(f"{site.server.make_url('/')}".rstrip("/") + path, encoded=True)
    given = {"Accept-Encoding": "identity"} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        ClientSession(auto_decompress=False) as session,
        session.request(method, url, headers=given, allow_redirects=False) as response,
    ):
        return response, await response.read()


@pytest_asyncio.fixture
async def api_only(site: Site) -> AsyncIterator[Site]:
    """The API with ROLLCALL_PAGES=off."""
    async with served(site, replace(DEVELOPMENT, pages=False)) as found:
        yield found


@pytest.mark.parametrize("path", PATHS)
async def test_each_path_of_a_page_answers_the_document(site: Site, path: str) -> None:
    """Also to who opens or reloads a page at its own address; asked for anew each time, so a new build is found."""
    response, body = await get(site, path)

    assert (response.status, body) == (200, DOCUMENT)
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["ETag"]


@pytest.mark.parametrize("path", [*PATHS, *(f"/{name}" for name in LOADED)])
async def test_no_other_page_can_frame_open_or_embed_a_page(site: Site, path: str) -> None:
    """No clickjacking, no handle on the window, no script but the files of this server."""
    for status, tag in ((200, '"other"'), (304, (await get(site, path))[0].headers["ETag"])):
        response, _ = await get(site, path, If_None_Match=tag)

        assert response.status == status
        directives = (part.split() for part in response.headers["Content-Security-Policy"].split("; "))
        policy = {name: sources for name, *sources in directives}
        assert policy["frame-ancestors"] == policy["default-src"] == policy["base-uri"] == ["'none'"]
        assert (
            policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["form-action"] == ["'self'"]
        )
        assert {source for sources in policy.values() for source in sources} == {"'none'", "'self'", "data:"}
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "camera=()" in response.headers["Permissions-Policy"]
        assert not [name for name in response.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("name", LOADED)
async def test_a_file_is_answered_with_its_type(site: Site, name: str) -> None:
    """Files whose names hold a hash are kept for ever, the others are asked for anew."""
    response, body = await get(site, f"/{name}")

    assert (response.status, body) == (200, FILES[name])
    assert response.headers["Cache-Control"] == (IMMUTABLE if name.startswith("assets/") else "no-cache")
    suffix = Path(name).suffix
    assert {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}.get(suffix, "") in (
        response.headers["Content-Type"]
    )


@pytest.mark.parametrize("name", [pages.DOCUMENT, *LOADED])
async def test_a_client_gets_the_smallest_form_that_it_accepts(site: Site, name: str) -> None:
    """Brotli before gzip before the file itself, each with a tag of its own; q=0 refuses one."""
    path = "/" if name == pages.DOCUMENT else f"/{name}"
    forms = {"br": FILES.get(f"{name}.br"), "gzip": FILES.get(f"{name}.gz")}
    tags = set()
    for accepted, codings in {
        "gzip, deflate, br, zstd": ("br", "gzip"),
        "GZIP": ("gzip",),
        "br;q=0, gzip;q=0.5": ("gzip",),
        "br; q=0.000": (),
        "brotli": (),
        "": (),
    }.items():
        coding = next((coding for coding in codings if forms[coding] is not None), None)

        response, body = await get(site, path, Accept_Encoding=accepted)

        assert response.headers.get("Content-Encoding") == coding
        assert body == (FILES[name] if coding is None else forms[coding])
        assert "Accept-Encoding" in response.headers["Vary"]
        tags.add((coding, response.headers["ETag"]))
        if coding == "gzip":
            assert gzip.decompress(body) == FILES[name]
    assert len({coding for coding, _ in tags}) == len({tag for _, tag in tags}) == len(tags)


OUTSIDE = [
    "/assets/../__init__.py",
    "/assets/..%2f__init__.py",
    "/assets/%2e%2e/__init__.py",
    "/assets/..%5c__init__.py",
    "/assets//etc/passwd",
    "/assets/%00",
    "/assets/",
    "/assets",
    "/assets/index.html",
    "/assets/nothing-00000000.js",
    "/index.html",
    "/__init__.py",
    "/SHA256SUMS",
    "/LICENSES.txt",
    "/data/",
    "/nothing",
    "/sign-in/",
    *(f"/{name}" for name in FILES if name.endswith(COMPRESSED)),
]


@pytest.mark.parametrize("path", OUTSIDE)
async def test_only_files_of_the_list_are_answered(site: Site, path: str) -> None:
    """However the path is written, it is compared with names that were read at the start."""
    response, _ = await get(site, path)

    assert response.status == 404


CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
UNKNOWN = [
    "/nowhere",
    "/users/",
    "/sign-in/",
    "/assets/nothing-00000000.js",
    "/graphql/",
    "/%00",
    "/.env",
    "/%3Cscript%3E",
]


@pytest.mark.parametrize("accepted", [CHROMIUM, "text/html", "text/*", "application/json;q=0.5, text/html;q=0.5"])
@pytest.mark.parametrize("path", UNKNOWN)
async def test_a_browser_that_opens_an_unknown_path_gets_the_page_that_leads_home(
    site: Site, path: str, accepted: str
) -> None:
    """With the status 404, under the policy of every page, and kept nowhere."""
    headers = {"Accept": accepted, "Accept-Encoding": "gzip", "If-None-Match": "*"}
    known, _ = await get(site, "/sign-in")

    response, body = await get(site, path, **headers)
    head, nothing = await get(site, path, "HEAD", **headers)

    assert response.status == head.status == 404
    assert (gzip.decompress(body), nothing) == (DOCUMENT, b"")
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Vary"] == "Accept, Accept-Encoding"
    assert "ETag" not in response.headers
    for name in ("Content-Security-Policy", "X-Frame-Options", "Referrer-Policy", "Cross-Origin-Opener-Policy"):
        assert response.headers[name] == known.headers[name]


JSON_ACCEPTS = [
    "",
    "*/*",
    "application/json",
    "application/json, text/html;q=0.9",
    "text/html;q=0",
    "image/*",
    "nonsense",
]


@pytest.mark.parametrize("accepted", JSON_ACCEPTS)
@pytest.mark.parametrize("path", UNKNOWN)
async def test_every_other_client_gets_json_at_an_unknown_path(site: Site, path: str, accepted: str) -> None:
    """In the form of all refusals, and without a word of the path."""
    response, body = await get(site, path, Accept=accepted)

    assert response.status == 404
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    (error,) = json.loads(body)["errors"]
    assert error == {
        "message": "nothing is at this path; the API is at /graphql",
        "extensions": {"code": "BAD_REQUEST"},
    }


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_only_reading_an_unknown_path_gets_a_page(site: Site, method: str) -> None:
    """A form that was sent to the wrong path learns that it was not taken."""
    response, body = await get(site, "/nowhere", method, Accept=CHROMIUM)

    assert (response.status, list(json.loads(body))) == (404, ["errors"])


async def test_without_pages_an_unknown_path_gets_a_bare_404(api_only: Site) -> None:
    """There is no page that could lead home."""
    response, body = await get(api_only, "/nowhere", Accept=CHROMIUM)

    assert (response.status, body) == (404, b"404: Not Found")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_a_page_is_read_only(site: Site, method: str) -> None:
    """Nothing can be sent to a page."""
    assert (await get(site, "/sign-in", method))[0].status == 405


async def test_without_pages_the_api_is_alone(api_only: Site) -> None:
    """ROLLCALL_PAGES=off: no page, no file and no /session; the root leads to /graphql."""
    for path in [*PATHS[1:], *(f"/{name}" for name in LOADED)]:
        assert (await get(api_only, path))[0].status == 404
    for method in ("GET", "PUT", "POST", "DELETE"):
        assert (await get(api_only, "/session", method))[0].status == 404
    response, _ = await get(api_only, "/")
    assert (response.status, response.headers["Location"]) == (302, "/graphql")


def test_a_file_of_an_unknown_type_is_refused_at_the_start(tmp_path: Path) -> None:
    """A browser would have to guess its type, which nosniff forbids."""
    (tmp_path / "index.html").write_text("")
    (tmp_path / "page.wasm").write_text("")

    with pytest.raises(ValueError, match=re.escape("page.wasm")):
        pages.read_files(tmp_path)
