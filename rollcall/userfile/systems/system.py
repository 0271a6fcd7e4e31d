"""What is known of another system's files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from rollcall.userfile.rows import JSON, RecordFault
from rollcall.userfile.systems.hash_config import HashConfig

Fields: TypeAlias = dict[str, JSON]


def unchanged(fields: Fields, _config: HashConfig | None) -> Fields:
    """The record as it is."""
    return fields


@dataclass(frozen=True, slots=True)
class System:
    """The files of one system: how a record is recognised, and what its fields are."""

    name: str
    """For `--format`."""
    title: str
    recognises: Callable[[Fields], bool]
    """Whether a record of the file is one of this system's."""
    usual: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The fields for each target, of which the first that has a value is taken; `first+last` joins two."""
    left_out: tuple[str, ...] = ()
    """Fields that mean nothing elsewhere, such as one-time tokens and counters."""
    prepare: Callable[[Fields, HashConfig | None], Fields | RecordFault | None] = unchanged
    """The record with its hash and nested fields in the forms that are read here. None if it is not a user."""


def has(*names: str) -> Callable[[Fields], bool]:
    """Whether a record has all of these fields."""
    wanted = frozenset(names)
    return lambda fields: wanted <= fields.keys()
