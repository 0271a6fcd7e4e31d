"""Registrations and sign-ins a second, compared with argon2 alone on all cores, and the event loop's lag meanwhile."""

import asyncio
import os
import secrets
import statistics
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import aiohttp
import argon2
from prometheus_client.parser import text_string_to_metric_families

from auth.password_hashing import PROFILES
from benchmarks.bench import Bench
from benchmarks.graphql import admin_token, serving
from benchmarks.load import load, request
from benchmarks.measure import Measured
from rollcall.embedded.process import free_port

RUNS: Final = 3
TIMES: Final = 24
PROFILE: Final = "rfc9106-low-memory"
"""The default of ROLLCALL_PASSWORD_PROFILE."""
CONNECTIONS: Final = 8
PASSWORD: Final = "a password of some length"  # noqa: S105
REGISTER: Final = """
mutation register($input: RegisterInput!) {
  register(input: $input) { session { accessToken refreshToken } errors { message } }
}
"""
LOGIN: Final = """
mutation login($input: LoginInput!) {
  login(input: $input) { session { accessToken refreshToken } errors { message } }
}
"""
LAG: Final = "rollcall_event_loop_lag_seconds"

Bodies = Callable[[str], dict[str, Any]]
"""Makes the input of an operation for a username."""


async def signing_in(bench: Bench) -> list[Measured]:
    """Measure registrations and sign-ins against argon2 alone."""
    metrics = free_port()
    variables = {
        "ROLLCALL_METRICS_PORT": str(metrics),
        "ROLLCALL_PASSWORD_PROFILE": PROFILE,
        "ROLLCALL_REGISTRATIONS_PER_HOUR": "0",
    }
    async with serving(bench, "-m", "rollcall", "serve", **variables) as url:
        await admin_token(url)  # waits until the server has started
        names = [f"user.{secrets.token_hex(6)}" for _ in range((RUNS + 1) * TIMES)]
        page = f"http://127.0.0.1:{metrics}/metrics"
        registered = await _measure("registration", url, page, REGISTER, _registration, names)
        return [registered, await _measure("sign-in", url, page, LOGIN, _login, names)]


async def _measure(what: str, url: str, page: str, query: str, body: Bodies, names: list[str]) -> Measured:
    pairs, lags = [], Counter[float]()
    for run in range(RUNS + 1):
        batch = names[run * TIMES : (run + 1) * TIMES]
        requests = [request(url, "", query, {"input": body(name)}) for name in batch]
        sent = [one.replace(b"Authorization: Bearer \r\n", b"") for one in requests]
        before = await _lags(page)
        mine = (await load(url, sent, TIMES, CONNECTIONS)).rate
        lags += await _lags(page) - before  # only of the server's own load: the rival loads the same cores
        pairs.append((mine, await _argon2_alone()))
    lag = _percentile(lags, 0.99)
    return Measured(
        f"{what} (event loop's lag p99 <= {1_000 * lag:g} ms)",
        statistics.median(mine for mine, _ in pairs[1:]),
        "argon2 alone on all cores",
        statistics.median(its for _, its in pairs[1:]),
        statistics.median(mine / its for mine, its in pairs[1:]),
    )


def _registration(name: str) -> dict[str, Any]:
    return {"username": name, "email": f"{name}@example.com", "name": "Some Body", "password": PASSWORD}


def _login(name: str) -> dict[str, Any]:
    return {"login": name, "password": PASSWORD}


async def _argon2_alone() -> float:
    """Hashes a second with a thread for each core."""
    profile, loop = PROFILES[PROFILE], asyncio.get_running_loop()
    hasher = argon2.PasswordHasher(profile.passes, profile.memory_kib, profile.lanes)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        began = time.perf_counter()
        await asyncio.gather(*(loop.run_in_executor(threads, hasher.hash, PASSWORD) for _ in range(TIMES)))
        return TIMES / (time.perf_counter() - began)


async def _lags(page: str) -> Counter[float]:
    """The cumulative buckets of the event loop's lag since the server started: bound in seconds to count."""
    async with aiohttp.ClientSession() as client, client.get(page) as answer:
        text = await answer.text()
    return Counter(
        {
            float(sample.labels["le"]): int(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == f"{LAG}_bucket"
        }
    )


def _percentile(counts: Counter[float], share: float) -> float:
    """The smallest bound that this share of the observations did not exceed."""
    return next(bound for bound in sorted(counts) if counts[bound] >= share * counts[float("inf")])
