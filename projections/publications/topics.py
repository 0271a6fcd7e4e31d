"""Topics as the publication needs them: the options that it creates them with, and accepts."""

from collections.abc import Mapping
from typing import Final

import msgspec

MESSAGE_BYTES: Final = 8 * 2**20
"""The largest message that the client sends: a data object before and after a change has 2 MiB."""
OWN_KEY: Final = b"rollcall"
"""Key of the publication's own tombstones, which concern no object."""


class KafkaTopic(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as the publication needs it."""

    name: str
    partitions: int
    compaction_ms: int | None = None
    """The longest time that a record stays out of compaction; None if the topic is kept by time."""

    @property
    def config(self) -> dict[str, str]:
        """The options that the topic is created with."""
        if self.compaction_ms is None:
            return {"cleanup.policy": "delete"}
        return {
            "cleanup.policy": "compact",
            "max.compaction.lag.ms": str(self.compaction_ms),
            "max.message.bytes": str(MESSAGE_BYTES),
        }


def option_problem(topic: KafkaTopic, found: Mapping[str, str | None]) -> str | None:
    """What is wrong with the options of a topic; None if nothing is."""
    policies = set((found.get("cleanup.policy") or "").split(","))
    if topic.compaction_ms is None:
        return None if "compact" not in policies else f"topic {topic.name} is compacted, and must be kept by time only"
    if policies != {"compact"}:
        return f"topic {topic.name} has cleanup.policy={','.join(sorted(policies))}, expected compact"
    lag = int(found.get("max.compaction.lag.ms") or 2**63 - 1)
    if lag > topic.compaction_ms:
        return (
            f"topic {topic.name} has max.compaction.lag.ms={lag}, expected at most {topic.compaction_ms}: deleted "
            "users would stay in it for longer. Lower it, or raise ROLLCALL_KAFKA_COMPACTION_SECONDS"
        )
    return None
