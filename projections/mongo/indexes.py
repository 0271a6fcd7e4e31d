"""The indexes of the MongoDB view: those that the program declares, against those that are there."""

from collections.abc import Mapping
from typing import Any, Final

from events.event_types import JSON
from projections.mongo.client import Collection
from projections.mongo.view import INDEXES

IMMATERIAL: Final = frozenset({"name", "v", "ns", "background", "textIndexVersion"})


def _shape(index: Mapping[str, Any]) -> dict[str, JSON]:
    """What makes two indexes the same. The key of a text index is another one once it is made; its weights say it."""
    shape = {option: value for option, value in index.items() if option not in IMMATERIAL}
    key = shape.pop("key")
    fields = list(key.items()) if isinstance(key, Mapping) else key
    return shape if "weights" in shape else {**shape, "key": [list(field) for field in fields]}


DECLARED: Final = {index.document["name"]: _shape(index.document) for index in INDEXES}


async def differing_indexes(users: Collection) -> dict[str, tuple[dict[str, JSON], dict[str, JSON] | None]]:
    """By name, declared indexes and what is there in their place. Others are an operator's affair."""
    found = {name: _shape(index) for name, index in (await users.index_information()).items()}
    return {name: (shape, found.get(name)) for name, shape in DECLARED.items() if found.get(name) != shape}


async def repair_indexes(users: Collection) -> None:
    """Make the declared indexes that differ. Readers and the projector go on meanwhile."""
    for name, (_, found) in (await differing_indexes(users)).items():
        if found is not None:
            await users.drop_index(name)
    await users.create_indexes(INDEXES)
