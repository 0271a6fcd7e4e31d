"""The pages for people, built from web/ into this package. Each path answers the same document, whose script reads it.

The files are read once, at the start, so a request names an entry of a list and never a path.

A path that nothing answers gets 404: with the document, which says so and leads home, for a browser that opens it, and
with JSON for every other client.
"""

import functools
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from graph.http import refusal
from graph.media_types import prefers_html

DIRECTORY: Final = Path(__file__).parent / "assets"
DOCUMENT: Final = "index.html"
PATHS: Final = (
    "/",
    "/sign-in",
    "/sign-up",
    "/forgot-password",
    "/reset-password",
    "/verify-email",
    "/accept-invitation",
    "/account",
    "/dashboard",
    "/data",
    "/data/{rest:.+}",
    "/users",
    "/users/{rest:.+}",
    "/audit",
    "/webhooks",
)

# 'self' in connect-src covers the WebSocket to the same host.
_CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of the document and of every file: a browser can open an SVG as a document too."""

# Written out because Python's guesses depend on the machine's tables.
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
_ENCODINGS: Final = {"br": ".br", "gzip": ".gz"}
"""Suffixes of compressed files, the smallest first."""
_REFUSED: Final = re.compile(r"\s*q\s*=\s*0(\.0*)?\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class File:
    """A built file and its compressed forms."""

    name: str
    media_type: str
    content: bytes
    encoded: dict[str, bytes]
    """By content coding."""

    @property
    def cache_control(self) -> str:
        # The names of files below assets/ hold hashes of their contents; the others keep their names in each build.
        return "public, max-age=31536000, immutable" if self.name.startswith("assets/") else "no-cache"


def read_files(directory: Path = DIRECTORY) -> dict[str, File]:
    """The built files, by their names in the directory.

    Raises:
        ValueError: the media type of a file is not known.
    """
    contents = {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
    return {file.name: file for file in _files(contents)}


def _files(contents: dict[str, bytes]) -> Iterator[File]:
    for name, content in contents.items():
        suffix = Path(name).suffix
        if suffix in _ENCODINGS.values() and name.removesuffix(suffix) in contents:
            continue
        if suffix not in _MEDIA_TYPES:
            raise ValueError(f"{name}: a page cannot have a file of this type")
        encoded = {coding: contents[name + end] for coding, end in _ENCODINGS.items() if name + end in contents}
        yield File(name, _MEDIA_TYPES[suffix], content, encoded)


def add_routes(app: web.Application) -> None:
    """Serve the pages, and the files that they load."""
    files = read_files()
    for path in PATHS:
        app.router.add_get(path, functools.partial(_serve, files[DOCUMENT]))
    for name, file in files.items():
        if name != DOCUMENT:
            app.router.add_get(f"/{name}", functools.partial(_serve, file))
    app.middlewares.append(_answering_unknown_paths(files[DOCUMENT]))


def _answering_unknown_paths(document: File) -> Middleware:
    @web.middleware
    async def answer_unknown_paths(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not isinstance(request.match_info.http_exception, web.HTTPNotFound):
            return await handler(request)
        vary = "Accept, Accept-Encoding"
        if request.method not in {hdrs.METH_GET, hdrs.METH_HEAD} or not prefers_html(request.headers):
            return refusal(
                HTTPStatus.NOT_FOUND, "nothing is at this path; the API is at /graphql", headers={"Vary": vary}
            )
        coding, content = _encoded(document, request)
        # It must not be kept: a later version may have a page here.
        response = web.Response(
            status=HTTPStatus.NOT_FOUND, headers=_HEADERS | {hdrs.CACHE_CONTROL: "no-store", hdrs.VARY: vary}
        )
        _fill(response, document, coding, content)
        return response

    return answer_unknown_paths


async def _serve(file: File, request: web.Request) -> web.Response:
    coding, content = _encoded(file, request)
    response = web.Response(headers=_HEADERS | {hdrs.CACHE_CONTROL: file.cache_control})
    response.etag = tag = _tag(content)
    if any(known.value in {tag, "*"} for known in request.if_none_match or ()):
        response.set_status(HTTPStatus.NOT_MODIFIED)
        return response
    _fill(response, file, coding, content)
    return response


def _encoded(file: File, request: web.Request) -> tuple[str | None, bytes]:
    """The smallest form of a file that a client accepts: its content coding, if any, and the bytes."""
    accepted = request.headers.getall(hdrs.ACCEPT_ENCODING, [])
    return next(
        ((name, encoded) for name, encoded in file.encoded.items() if _accepts(accepted, name)), (None, file.content)
    )


def _fill(response: web.Response, file: File, coding: str | None, content: bytes) -> None:
    response.headers[hdrs.CONTENT_TYPE] = file.media_type
    response.body = content
    if coding is not None:
        response.headers[hdrs.CONTENT_ENCODING] = coding


@functools.cache
def _tag(content: bytes) -> str:
    """The entity tag. Not of the file's time, which an installation may make the same in each version."""
    return hashlib.sha256(content).hexdigest()[:32]


def _accepts(headers: list[str], coding: str) -> bool:
    """Whether Accept-Encoding names a content coding, and does not refuse it by q=0."""
    for part in ",".join(headers).split(","):
        name, _, parameters = part.partition(";")
        if name.strip().lower() == coding:
            return not _REFUSED.fullmatch(parameters)
    return False
