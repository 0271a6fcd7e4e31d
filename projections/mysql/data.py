"""Data objects as rows of the MySQL view: the columns of their table.

The owner's index is there from the beginning of a copy on, unlike the others: the deletion of a user removes the
user's objects from every copy, whatever it is being filled with.
"""

from typing import Final

import msgspec

from events import sql
from events.data_object import DataObject
from events.database import Row
from events.event_types import JSON
from events.ids import uuid_of
from events.sql import aware_utc, naive_utc

DATA_FIELDS: Final = (
    "id",
    "number",
    "owner_id",
    "name",
    "content",
    "version",
    "position",
    "created_at",
    "updated_at",
)
DATA_COLUMNS: Final = ", ".join(DATA_FIELDS)
DATA_ASSIGNMENTS: Final = ", ".join(f"{column} = new.{column}" for column in DATA_FIELDS[1:])
OWNER_KEY: Final = """
    KEY by_owner (owner_id, number)"""
DATA_KEYS: Final = """
    KEY by_number (number),
    KEY by_name (name),
    KEY by_created_at (created_at),
    KEY by_updated_at (updated_at)"""
CREATE_DATA: Final = (
    """
CREATE TABLE IF NOT EXISTS {data} (
    id         BINARY(16)      NOT NULL,
    number     BIGINT UNSIGNED NOT NULL,
    owner_id   BINARY(16)      NOT NULL,
    name       VARCHAR(200)    NOT NULL,
    content    MEDIUMTEXT      CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'JSON',
    version    INT UNSIGNED    NOT NULL,
    position   BIGINT UNSIGNED NOT NULL COMMENT 'of the last event in this row',
    created_at DATETIME(6)     NOT NULL COMMENT 'UTC',
    updated_at DATETIME(6)     NOT NULL COMMENT 'UTC',
    PRIMARY KEY (id),"""
    + OWNER_KEY
    + """{data_keys}
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_as_ci
"""
)
ADD_DATA_KEYS: Final = "ALTER TABLE {data}" + DATA_KEYS.replace("    KEY", "    ADD KEY")


def row_of_data(data: DataObject) -> Row:
    """The values of `DATA_FIELDS` for an object."""
    return (
        data.id.bytes,
        data.number,
        data.owner_id.bytes,
        data.name,
        msgspec.json.encode(data.content).decode(),
        data.version,
        data.position,
        naive_utc(data.created_at),
        naive_utc(data.updated_at),
    )


def data_of(row: Row) -> DataObject:
    """The object in a row of `DATA_COLUMNS`."""
    data_id, number, owner_id, name, content, version, position, created_at, updated_at = row
    return DataObject(
        id=uuid_of(data_id),
        number=number,
        owner_id=uuid_of(owner_id),
        name=name,
        content=msgspec.json.decode(content),
        version=version,
        position=position,
        created_at=aware_utc(created_at),
        updated_at=aware_utc(updated_at),
    )


def fields_of_data(row: Row) -> dict[str, JSON]:
    """A row of `DATA_COLUMNS` as it is stored, by column, without the id."""
    fields = dict(zip(DATA_FIELDS[1:], row[1:], strict=True))
    fields["content"] = msgspec.json.decode(fields["content"])
    return fields


def literal_of_data(data: DataObject) -> str:
    """An object as a row of literals."""
    data_id, number, owner_id, name, content, version, position, created_at, updated_at = row_of_data(data)
    return (
        f"({sql.binary(data_id)}, {sql.integer(number)}, {sql.binary(owner_id)}, {sql.text(name)}, "
        f"{sql.text(content)}, {sql.integer(version)}, {sql.integer(position)}, "
        f"{sql.instant(created_at)}, {sql.instant(updated_at)})"
    )
