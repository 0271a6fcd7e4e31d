"""The guide for frontend teams works: its shell snippets, in their order, against a real server.

A snippet's answer is compared with the one that the guide shows below it, in its shape. What has other values here,
such as ids and tokens, is put into the later snippets in place of the guide's.
"""

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from events.event_types import Role
from tests.graph.client import Json
from tests.graph.site import Site
from tests.log import NOBODY, registration
from tests.waiting import PATIENCE_SECONDS

GUIDE: Final = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
ADDRESS: Final = "http://127.0.0.1:8000"
ADMIN_PASSWORD: Final = "qlIQnt446Dekj3C8"
DONE: Final = "-- done --"
NEEDED: Final = "bash, curl and jq are needed for the snippets of the guide"
IMPORTED: Final = [
    ("fmiller", "Elizabeth Ray", "arroyocolton@gmail.com", {"accounts": [371138, 324287]}),
    ("thomas16", "Elizabeth Meyer", "andrew95@gmail.com", {"accounts": [128]}),
    ("abrown", "Alan Brown", "abrown@example.com", {}),
]
"""Those users of the guide's file that its answers speak of."""


class Snippet(NamedTuple):
    """A block of shell, and the answer that is shown right below it."""

    script: str
    answer: Json | None


def snippets() -> Iterator[Snippet]:
    """All of the guide's that call the API, in order; those that install packages are `shell`."""
    for script, shown in re.findall(r"^```sh\n(.*?)^```\n(?:\n```json\n(.*?)^```)?", GUIDE, re.MULTILINE | re.DOTALL):
        yield Snippet(script, json.loads(shown) if shown else None)


@dataclass(slots=True)
class Reader:
    """A reader of the guide, who replaces its example values with those of this site."""

    here: dict[str, str] = field(default_factory=dict)

    def learn(self, shown: Json, found: Json) -> None:
        """Compare the shape of an answer with the one that is shown, and note the texts that differ."""
        if isinstance(shown, dict):
            assert isinstance(found, dict), (shown, found)
            assert shown.keys() == found.keys(), (shown, found)
            for name, value in shown.items():
                self.learn(value, found[name])
        elif isinstance(shown, list):
            assert isinstance(found, list), (shown, found)
            assert bool(shown) == bool(found), (shown, found)
            as_shown = shown if len(shown) == len(found) else shown[:1] * len(found)
            for one, other in zip(as_shown, found, strict=True):
                self.learn(one, other)
        else:
            assert type(shown) is type(found), (shown, found)
            if isinstance(shown, str) and len(shown) >= 8:
                self.here.setdefault(shown, found)

    def adapted(self, script: str) -> str:
        """A script with the values of here. One that the guide cuts short with an ellipsis stands for all of it."""
        for shown, found in self.here.items():
            wanted = re.escape(shown.removesuffix("…")) + (r"[\w.…-]*" if shown.endswith("…") else "")
            script = re.sub(wanted, found.replace("\\", r"\\"), script)
        return script


@dataclass(frozen=True, slots=True)
class Shell:
    """One shell for all snippets: what one sets, the next ones have."""

    process: asyncio.subprocess.Process

    async def run(self, script: str) -> list[Json]:
        """The answers that a script prints."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{script}\necho; echo '{DONE}'\n".encode())
        lines: list[str] = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (line := (await self.process.stdout.readline()).decode().strip()) != DONE:
                assert not self.process.stdout.at_eof(), lines
                lines.append(line)
        return list(answers_in("".join(lines)))


def answers_in(text: str) -> Iterator[Json]:
    """Values of JSON, one right after the other, as curl leaves them."""
    decoder, place = json.JSONDecoder(), 0
    while place < len(text):
        value, place = decoder.raw_decode(text, place)
        yield value


@asynccontextmanager
async def shell() -> AsyncIterator[Shell]:
    """A shell, ended with the block."""
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-u",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1"},
    )
    try:
        yield Shell(process)
    finally:
        process.kill()
        await process.wait()


async def administrator(site: Site) -> None:
    """The first user of the guide's server."""
    hashed = await site.passwords.hash(ADMIN_PASSWORD)
    await site.log.commands.register(registration("admin", role=Role.ADMIN, password_hash=hashed), NOBODY)


async def imported(site: Site) -> None:
    """The users that came next."""
    for username, name, email, attributes in IMPORTED:
        await site.person(username=username, name=name, email=email, attributes=attributes)


async def signed_in(site: Site) -> str:
    """A token of a new session of the administrator's."""
    answer = await site.anyone.field(
        "mutation ($input: LoginInput!) { login(input: $input) { session { accessToken } } }",
        input={"login": "admin", "password": ADMIN_PASSWORD},
    )
    return str(answer["session"]["accessToken"])


@pytest.fixture
def tools() -> None:
    """On a developer's machine without them the guide is not tried; in CI it always is."""
    if not all(map(shutil.which, ["bash", "curl", "jq"])):
        if os.environ.get("CI"):
            pytest.fail(NEEDED)
        pytest.skip(NEEDED)


@pytest.mark.usefixtures("tools")
async def test_the_shell_snippets_of_the_guide_work_in_their_order(own_site: Site) -> None:
    """Sign in, refresh, page, filter, search, change with a version and with a key, read the past, as shown."""
    site, reader, compared = own_site, Reader(), 0
    await administrator(site)
    base = str(site.server.make_url("")).rstrip("/")
    async with shell() as bash:
        for snippet in snippets():
            await site.caught_up()
            answers = await bash.run(reader.adapted(snippet.script.replace(ADDRESS, base)))
            assert all("errors" not in answer for answer in answers), (snippet, answers)
            for answer in answers if snippet.answer else ():
                reader.learn(snippet.answer, answer)
                compared += 1
            if await site.log.store.head() == 2:
                await imported(site)
            if "logout" in snippet.script:
                await bash.run(f"TOKEN={await signed_in(site)}")

    assert compared >= 12
