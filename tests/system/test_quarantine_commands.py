"""`rollcall quarantine` and `rollcall status` when an event cannot be applied."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from projections.lease import HEARTBEAT_SECONDS
from tests.projections.test_projector import projector, running
from tests.projections.test_quarantine import SECRET, damaged_data, lost_row, reach, three_users
from tests.system.installation import own_servers
from tests.system.test_standby import scene
from tests.waiting import eventually

COUNTED_WITHIN: Final = timedelta(seconds=3 * HEARTBEAT_SECONDS)
"""A projector counts quarantined users about once a second, so a report right after a command may be outdated."""


async def test_an_operator_sees_retries_and_drops(urls: tuple[str, str], tmp_path: Path) -> None:
    """Of two quarantined users a retry releases one; the other is dropped. `status` reports the count."""
    installation = own_servers(tmp_path, *urls)
    async with scene("mysql", urls) as stage:
        alice, bob, _ = await three_users(stage.log)
        await stage.bench.view.prepare()
        await stage.bench.view.apply(await stage.log.all(), after=await stage.log.at(0))
        await lost_row(stage.bench, stage.log, alice)
        await damaged_data(stage.bench, stage.log, bob)
        async with running(projector(stage.bench.view, stage.log)):
            await reach(stage.bench, 5)

            status = await installation.run("status", "--json")
            listed = json.loads((await installation.run("quarantine", "list", "--json")).out)
            retried = await installation.run("quarantine", "retry", "mysql")
            dropped = await installation.run("quarantine", "drop", "mysql", str(bob))
            counted_by = datetime.now(UTC) + COUNTED_WITHIN
            again = await installation.run("quarantine", "drop", "mysql", str(alice))

            async def counted_since() -> bool:
                reported_at = (await stage.status()).updated_at
                return reported_at is not None and reported_at > counted_by

            await eventually(counted_since)
        table = await installation.run("quarantine", "list")

        assert status.code == 1
        assert {view["name"]: (view["state"], view["quarantined"]) for view in json.loads(status.out)} == {
            "mysql_users": ("LIVE", 2),
            "mongo_users": ("STOPPED", 0),
        }
        assert [(one["view"], one["user_id"], one["position"]) for one in listed] == [
            ("mysql_users", str(alice), 4),
            ("mysql_users", str(bob), 5),
        ]
        assert retried.code == 1
        assert f"{alice}: released" in retried.out
        assert f"{bob}: still cannot be applied: event at position 5 cannot be read" in retried.out
        assert (dropped.code, again.code) == (0, 2)
        assert "is not in the quarantine" in again.err
        assert f"mysql_users  {bob}  5         UserUpdated  yes      event at position 5" in table.out
        assert str(alice) not in table.out
        assert (await stage.status()).quarantined == 0
        assert (await stage.bench.users())[alice].name == SECRET
