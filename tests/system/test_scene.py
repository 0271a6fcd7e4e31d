"""`make scene`: what a newcomer runs first shows what it promises."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.publications.brokers import require_java
from tests.system.test_dev import processes_of

EXAMPLES = Path(__file__).parents[2] / "examples"
MESSAGE = re.compile(
    r"^rollcall\.(users|data)\.state \S+ op=(\w) time=(\S+Z) source=rollcall:(\d+)\n  before (.*)\n  after  (.*)$",
    re.MULTILINE,
)


async def test_the_scene_shows_each_change_in_kafka_and_finds_users_and_data(tmp_path: Path) -> None:
    """Four users and three data objects of two of them, from files; then both by several fields at once."""
    require_java()
    scene = await asyncio.create_subprocess_exec(
        sys.executable,
        EXAMPLES / "scene.py",
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = (text.decode() for text in await scene.communicate())
    assert scene.returncode == 0, out + err
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    assert "4 added, 0 already there, 0 refused, of 4 rows" in out
    assert "3 added, 0 already there, 0 refused, of 3 rows" in out

    messages = [
        (kind, op, int(position), json.loads(before), json.loads(after))
        for kind, op, _, position, before, after in MESSAGE.findall(out)
    ]
    users = [(op, before, after) for kind, op, _, before, after in messages if kind == "users"]
    created = {after["username"]: after for op, before, after in users if op == "c" and before is None}
    assert set(created) == {"admin", "ada", "grace", "edsger", "barbara"}
    for row in json.loads((EXAMPLES / "users.json").read_text()):
        expected = {"city": row["city"], "active": row["active"]}
        assert (created[row["username"]]["name"], created[row["username"]]["attributes"]) == (row["name"], expected)
    [(before, after)] = [(before, after) for op, before, after in users if op == "u"]
    assert (before["name"], after["name"], after["attributes"]) == ("Ada Lovelace", "Ada King", {"city": "Ockham"})
    [(before, after)] = [(before, after) for op, before, after in users if op == "d"]
    assert (before["id"], after) == (created["edsger"]["id"], None)
    assert f"rollcall.users.state {created['edsger']['id']} tombstone" in out
    objects_of_files_and_their_change(
        [(op, before, after) for kind, op, _, before, after in messages if kind == "data"]
    )

    assert found(out, "users") == [{"username": "grace", "name": "Grace Hopper"}]
    assert found(out, "searchUsers") == [{"username": "ada", "attributes": {"city": "Ockham"}}]
    ada = {"username": "ada"}
    assert found(out, "dataObjects") == [{"name": "letters", "owner": ada}, {"name": "notes", "owner": ada}]
    content = {"subject": "analytical engine", "pages": 67, "tags": ["mathematics"]}
    assert found(out, "searchData") == [{"name": "notes", "content": content, "owner": ada}]


def objects_of_files_and_their_change(data: list[tuple[str, Any, Any]]) -> None:
    """Each data object of the file was created once, and the notes were changed."""
    created = {after["name"]: after for op, before, after in data if op == "c" and before is None}
    for row in json.loads((EXAMPLES / "data.json").read_text()):
        assert created[row["name"]]["content"] == {name: row[name] for name in ("subject", "pages", "tags")}
    [(before, after)] = [(before, after) for op, before, after in data if op == "u"]
    assert (before["content"]["pages"], after["content"]["pages"]) == (66, 67)


def found(out: str, field: str) -> Any:
    """What a query of the scene found."""
    [line] = re.findall(rf"^{field} (\[.*\])$", out, re.MULTILINE)
    return json.loads(line)
