"""The request that delivers a message.

An endpoint gets `TIMEOUT` to answer. Its status counts and nothing else: redirects are not followed, of the body at
most a little is read so that the connection can be used again, and it is not decompressed.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
from yarl import URL

from projections.webhooks.endpoints import Endpoint
from projections.webhooks.messages import CONTENT_TYPE
from projections.webhooks.schedule import REASON_CHARACTERS, Answer, Delivery
from projections.webhooks.signatures import signature_headers
from projections.webhooks.targets import InvalidTarget, PublicResolver, checked_url

TIMEOUT: Final = aiohttp.ClientTimeout(total=20, connect=10)
"""Seconds. Standard Webhooks recommends 15 to 30 in all."""
READ_BYTES: Final = 16 * 1024
"""Of an answer's body. A longer one costs the endpoint its connection."""
AGENT: Final = "Rollcall-Webhooks/1"


class Sender:
    """Sends messages to endpoints."""

    def __init__(self, http: aiohttp.ClientSession, clock: Callable[[], datetime], *, private: bool) -> None:
        self._http = http
        self._clock = clock
        self._private = private

    async def send(self, endpoint: Endpoint, delivery: Delivery, body: bytes) -> Answer:
        """Attempt a delivery once; every failure is an answer."""
        private = endpoint.private
        try:
            url = checked_url(private.url, private=self._private)
        except InvalidTarget as error:  # it was allowed when it was set
            return Answer(error=str(error))
        signed = signature_headers(str(delivery.event_id), self._clock(), body, private.secrets, private.seed)
        headers = {"Content-Type": CONTENT_TYPE, "User-Agent": AGENT, **signed}
        began = time.perf_counter()
        try:
            async with self._http.post(
                URL(url, encoded=True), data=body, headers=headers, timeout=TIMEOUT, allow_redirects=False
            ) as response:
                await response.content.read(READ_BYTES)
                seconds = time.perf_counter() - began
                answer = Answer(status=response.status, seconds=seconds)
                if answer.accepted:
                    return answer
                after = retry_after(response.headers.get("Retry-After"), self._clock())
                moved = ": redirects are not followed" if 300 <= response.status < 400 else ""
                why = f"status {response.status} {response.reason}{moved}"[:REASON_CHARACTERS]
                return Answer(status=response.status, error=why, retry_after=after, seconds=seconds)
        except (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            text = str(error) or ("no answer within 20 s" if isinstance(error, TimeoutError) else "")
            why = f"{type(error).__name__}: {text}"[:REASON_CHARACTERS]
            return Answer(error=why, seconds=time.perf_counter() - began)


def retry_after(header: str | None, now: datetime) -> float | None:
    """The seconds of a Retry-After header, which is a number or a date (RFC 9110); None if it is neither."""
    if header is None:
        return None
    if header.strip().isascii() and header.strip().isdigit():
        return float(header.strip()[:9])
    try:
        at = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds())


@asynccontextmanager
async def http_client(*, private: bool) -> AsyncIterator[aiohttp.ClientSession]:
    """A client for requests to endpoints. Each connection goes to an address that was checked."""
    connector = aiohttp.TCPConnector(
        limit=0,  # workers bound their requests, so one endpoint never waits for another one's connections
        resolver=None if private else PublicResolver(),
        use_dns_cache=False,
        keepalive_timeout=30,
    )
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False
    ) as session:
        yield session
