"""`/dev/mail`: the mails that `rollcall dev` has caught. Only that command turns it on.

The mails have links that sign people in, so they are shown to this machine only. A page of another site cannot read
them: it is another origin, and a name of its own that leads to loopback is refused by the Host header.
"""

import functools
import re
from html import escape
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web

from projections.mail.smtp import is_loopback

ROW: Final = '<tr><td>{at}</td><td>{to}</td><td><a href="/dev/mail/{name}">{subject}</a></td></tr>'
HEAD: Final = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>Caught mail</title></head>
<body>
"""
PAGE: Final = (
    HEAD
    + """\
<h1>Caught mail</h1>
<p>{count} mails, newest first. As JSON: <a href="/dev/mail.json">/dev/mail.json</a></p>
<table>
<thead><tr><th scope="col">Received</th><th scope="col">To</th><th scope="col">Subject</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""
)
ONE: Final = (
    HEAD
    + """\
<h1>{subject}</h1>
<p>To {to}, {at}. <a href="/dev/mail">All caught mail</a></p>
<pre>{text}</pre>
</body>
</html>
"""
)
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

Mail = dict[str, Any]


def add_routes(app: web.Application, directory: Path) -> None:
    """Show the mails of a directory."""
    app.router.add_get("/dev/mail", functools.partial(_list, directory))
    app.router.add_get("/dev/mail.json", functools.partial(_json, directory))
    app.router.add_get("/dev/mail/{name}", functools.partial(_one, directory))


async def _list(directory: Path, request: web.Request) -> web.Response:
    _check_host(request)
    rows = [
        ROW.format(at=escape(mail["receivedAt"]), to=escape(mail["to"]), name=name, subject=escape(mail["subject"]))
        for name, mail in _mails(directory)
    ]
    text = PAGE.format(count=len(rows), rows="\n".join(rows))
    return web.Response(text=text, content_type="text/html", headers=HEADERS)


async def _json(directory: Path, request: web.Request) -> web.Response:
    _check_host(request)
    body = msgspec.json.encode([mail for _, mail in _mails(directory)])
    return web.Response(body=body, content_type="application/json", headers=HEADERS)


async def _one(directory: Path, request: web.Request) -> web.Response:
    _check_host(request)
    name = request.match_info["name"]
    mail = _read(directory / f"{name}.json") if re.fullmatch(r"\d{1,20}", name) else None
    if mail is None:
        raise web.HTTPNotFound
    shown = {"subject": mail["subject"], "to": mail["to"], "at": mail["receivedAt"]}
    page = ONE.format(text=_linked(mail["text"]), **{field: escape(value) for field, value in shown.items()})
    return web.Response(text=page, content_type="text/html", headers=HEADERS)


def _linked(text: str) -> str:
    """A mail's text as HTML, whose links one can follow."""
    return re.sub(r"https?://[^\s\"']+", lambda link: f'<a href="{link[0]}">{link[0]}</a>', escape(text, quote=False))


def _mails(directory: Path) -> list[tuple[str, Mail]]:
    found = ((path.stem, _read(path)) for path in sorted(directory.glob("*.json"), reverse=True))
    return [(name, mail) for name, mail in found if mail is not None]


def _read(path: Path) -> Mail | None:
    """The mail in a file; None if it was deleted meanwhile."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Mail)
    except FileNotFoundError:
        return None


def _check_host(request: web.Request) -> None:
    """
    Raises:
        HTTPForbidden: the client asks for another host than this machine.
    """
    if not is_loopback(request.url.host or ""):
        raise web.HTTPForbidden(text="caught mails are shown on http://127.0.0.1 and http://localhost only")
