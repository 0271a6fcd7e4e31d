"""GraphiQL, the page that browsers get at /graphql. Its assets are in this package: it needs no CDN."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

_DIRECTORY = Path(__file__).parent / "assets"

# 'self' covers the WebSocket to the same host too. GraphiQL's dialogs and menus insert style elements at run time,
# hence 'unsafe-inline' for styles. The fonts are data: URLs in the style sheet.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "img-src data:; font-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)

# The addresses are relative, so that the page also works behind a proxy that serves it under a prefix.
_PAGE = """\
<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Rollcall GraphiQL</title>
    <link rel="icon" href="data:,">
    <link rel="stylesheet" href="{style_sheet}">
    <script src="{script}" defer></script>
  </head>
  <body>
    <div id="graphiql"><noscript>GraphiQL needs JavaScript.</noscript></div>
  </body>
</html>
"""


@dataclass(frozen=True)
class _Asset:
    path: Path
    media_type: str
    href: str
    """Relative to the page, with a hash of the content, so browsers may keep it for ever."""


def add_routes(app: web.Application) -> None:
    """Serve the assets below /graphql/assets/."""
    for asset in _assets().values():
        app.router.add_get(f"/{asset.href}", functools.partial(_serve, asset))


def page() -> web.Response:
    """The HTML page. It sends its operations to its own address."""
    assets = _assets()
    html = _PAGE.format(style_sheet=assets["graphiql.css"].href, script=assets["graphiql.js"].href)
    headers = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
        "Referrer-Policy": "no-referrer",
        "Vary": "Accept",
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(text=html, content_type="text/html", headers=headers)


@functools.cache
def _assets() -> dict[str, _Asset]:
    # Media types are written out because Python's guesses depend on the machine's tables.
    media_types = {"graphiql.css": "text/css; charset=utf-8", "graphiql.js": "text/javascript; charset=utf-8"}
    assets = {}
    for name, media_type in media_types.items():
        path = _DIRECTORY / name
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assets[name] = _Asset(path, media_type, f"graphql/assets/{digest[:16]}/{name}")
    return assets


async def _serve(asset: _Asset, _request: web.Request) -> web.FileResponse:
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable",
        "Content-Type": asset.media_type,
        "X-Content-Type-Options": "nosniff",
    }
    return web.FileResponse(asset.path, headers=headers)
