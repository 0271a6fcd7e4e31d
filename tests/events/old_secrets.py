"""Somebody who has the whole database and the master key, and looks for hashes of passwords."""

from collections.abc import Iterable
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events.rows import ROW_COLUMNS
from events.vault import place_of
from tests.log import MASTER_KEY, Log


def decrypted(ciphers: Iterable[AESGCM], sealed: bytes, place: bytes) -> list[bytes]:
    """What the key of any of the ciphers makes of it."""
    found = []
    for cipher in ciphers:
        try:
            found.append(cipher.decrypt(sealed[:12], sealed[12:], place))
        except (InvalidTag, ValueError):
            continue
    return found


async def readable_hashes(
    log: Log, master_key: bytes = MASTER_KEY, *, only: UUID | None = None
) -> dict[UUID, set[str]]:
    """The hashes of each user, or of one, that can be opened with any key in any place of the database."""
    users = await log.database.fetch_all(
        "SELECT user_id, wrapped, master_key_id FROM user_keys WHERE wrapped IS NOT NULL"
    )
    credentials = await log.database.fetch_all("SELECT user_id, version, wrapped, master_key_id FROM credential_keys")
    where, values = ("", ()) if only is None else ("WHERE stream_id = %s", (only.bytes,))
    events = await log.database.fetch_all(f"SELECT {ROW_COLUMNS} FROM events {where}", values)
    master, keys = [AESGCM(master_key)], {master_key}
    for user_id, wrapped, key_id in users:
        keys.update(decrypted(master, wrapped, b"rollcall wrapped key v1" + key_id + user_id))
    for user_id, version, wrapped, key_id in credentials:
        place = b"rollcall credential key v1" + key_id + user_id + version.to_bytes(8)
        keys.update(decrypted(master, wrapped, place))
    ciphers = [AESGCM(key) for key in keys]
    found: dict[UUID, set[str]] = {}
    for _, stream_id, version, event_id, type_, data, personal, metadata, *_ in events:
        place = place_of(stream_id, version, event_id, type_, data, metadata)
        for plain in decrypted(ciphers, personal, place):
            content = msgspec.json.decode(plain or b"{}")
            assert "password_hash" not in content
            if "credential" in content:
                where = b"rollcall credential v1" + stream_id + version.to_bytes(8) + event_id
                hashes = decrypted(ciphers, msgspec.convert(content["credential"], bytes), where)
                found.setdefault(UUID(bytes=stream_id), set()).update(text.decode() for text in hashes)
    return {user_id: hashes for user_id, hashes in found.items() if hashes}
