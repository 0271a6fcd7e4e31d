"""aiohttp still has the private names that are relied on, and they still mean what they did."""

import inspect

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_writer import StreamWriter
from aiohttp.web_protocol import RequestHandler
from strawberry.aiohttp.views import AiohttpWebSocketAdapter

from graph.aiohttp_internals import CLIENT_FAULTS, WRITTEN_FOR, Runner, check_version

GONE = "aiohttp {} has changed a name that graph/aiohttp_internals.py relies on: {}"


@pytest.mark.parametrize("version", ["3.14.0", "3.14.5", "3.14.99", "3.14.6rc1", aiohttp.__version__])
def test_a_bug_fix_of_aiohttp_is_accepted(version: str) -> None:
    """Its patch releases keep private names."""
    check_version(version)


@pytest.mark.parametrize("version", ["3.13.9", "3.15.0", "3.15.0a0", "3.140.0", "4.0.0", "13.14.0"])
def test_another_version_of_aiohttp_is_refused(version: str) -> None:
    """The message says what to install, and what to do to support the version found."""
    with pytest.raises(ImportError, match=rf"3\.14, found {version}: install 'aiohttp>=3.14,<3.15'; or"):
        check_version(version)


@pytest.mark.parametrize(
    ("owner", "name", "expected"),
    [
        (RequestHandler, "connection_made", ["self", "transport"]),
        (RequestHandler, "connection_lost", ["self", "exc"]),
        (RequestHandler, "force_close", ["self"]),
        (RequestHandler, "handle_error", ["self", "request", "status", "exc", "message"]),
        (RequestHandler, "log_exception", ["self", "args", "kw"]),
        (RequestHandler, "log_debug", ["self", "args", "kw"]),
        (web.AppRunner, "_make_server", ["self"]),
        (web.Server, "__call__", ["self"]),
        (AbstractStreamWriter, "drain", ["self"]),
        (AiohttpWebSocketAdapter, "__init__", ["self", "view", "request", "ws"]),
    ],
    ids=lambda value: getattr(value, "__name__", value) if isinstance(value, str | type) else "",
)
def test_a_method_that_is_overridden_or_called_has_its_parameters(owner: type, name: str, expected: list[str]) -> None:
    """A new parameter would be dropped silently."""
    assert hasattr(owner, name), GONE.format(aiohttp.__version__, f"{owner.__name__}.{name}")
    found = list(inspect.signature(getattr(owner, name)).parameters)
    assert found == expected, GONE.format(aiohttp.__version__, f"{owner.__name__}.{name}")


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (BaseProtocol, "writing_paused"),
        (web.BaseRequest, "writer"),
        (web.BaseRequest, "protocol"),
        (StreamWriter, "output_size"),
    ],
)
def test_an_attribute_that_is_read_exists(owner: type, name: str) -> None:
    """The state of a connection, and of an answer that has begun."""
    assert hasattr(owner, name), GONE.format(aiohttp.__version__, f"{owner.__name__}.{name}")


async def test_a_server_has_what_another_one_is_made_from() -> None:
    """The runner makes its server from the attributes of aiohttp's own."""
    runner = Runner(web.Application())
    await runner.setup()
    try:
        made = await web.AppRunner._make_server(web.AppRunner(web.Application()))
        server = runner.server
        assert server is not None
        assert {"request_handler", "request_factory", "handler_cancellation", "_kwargs", "_loop"} <= vars(made).keys()
        assert vars(server).keys() - {"pending"} == vars(made).keys()
        assert isinstance(server(), RequestHandler)
        assert type(server()) is not RequestHandler
    finally:
        await runner.cleanup()


def test_faults_of_clients_are_told_from_faults_of_the_server() -> None:
    """aiohttp raises these for malformed requests, and they are no errors of a handler."""
    assert issubclass(CLIENT_FAULTS[0], HttpProcessingError)
    assert CLIENT_FAULTS[1] is web.RequestPayloadError
    assert tuple(int(part) for part in aiohttp.__version__.split(".")[:2]) == WRITTEN_FOR
