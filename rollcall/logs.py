"""Logs on standard error, one line per event: readable on a terminal, otherwise JSON."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.tracebacks import ExceptionDictTransformer

from events import tracing
from rollcall.settings import Settings


def configure_logging(settings: Settings, process: str) -> None:
    """Write the logs of this program and of its libraries to standard error in the configured format."""
    structlog.contextvars.bind_contextvars(process=process)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _add_trace,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_rendering(settings)))
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)
    for library in ("pymongo", "asyncio", "aiohttp"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # asyncmy logs every warning of the server, even "table exists" after CREATE TABLE IF NOT EXISTS.
    logging.getLogger("asyncmy").setLevel(logging.ERROR)


def _add_trace(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the ids of the trace, in the names that OpenTelemetry gives them in JSON."""
    if (trace := tracing.trace()) is not None:
        _, line["trace_id"], line["span_id"], _ = trace.split("-")
    return line


def _rendering(settings: Settings) -> list[Any]:
    # Both renderers add the local variables of a traceback by default. These include passwords and tokens.
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    if console:
        return [
            remove,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    return [
        remove,
        structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]
