"""The keys of an installation: from the settings, or from files in the data directory of private servers."""

import base64
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from rollcall.settings import KEY_BYTES, BadSettings, Settings, decoded_key


@dataclass(frozen=True, slots=True)
class KeyRing:
    """A key of 32 bytes, and other keys that only unwrap or verify during a rotation."""

    current: bytes = field(repr=False)
    others: tuple[bytes, ...] = field(default=(), repr=False)


def master_keys(settings: Settings) -> KeyRing:
    """The master keys.

    With private servers the first start creates a key file in the data directory, readable only by this operating
    system user. With an operator's own servers the key must be set: with a new key on an existing log, claims would
    have other hashes, and every username could be taken again.

    Raises:
        BadSettings: the key is required and not set, or the key file is damaged.
    """
    return _ring(settings, "master_key", settings.master_key, settings.other_master_key)


def signing_keys(settings: Settings) -> KeyRing:
    """The keys that sign access tokens, from the same places as the master keys.

    Raises:
        BadSettings: the key is required and not set, or the key file is damaged.
    """
    return _ring(settings, "signing_key", settings.signing_key, settings.other_signing_key)


def head_key(settings: Settings) -> bytes:
    """The seed of the key that signs heads, from the same places as the master keys.

    Raises:
        BadSettings: the key is required and not set, or the key file is damaged.
    """
    return _ring(settings, "head_key", settings.head_key, None).current


def _ring(settings: Settings, name: str, given: SecretStr | None, other: SecretStr | None) -> KeyRing:
    others = (decoded_key(other.get_secret_value()),) if other else ()
    if given is not None:
        return KeyRing(decoded_key(given.get_secret_value()), others)
    if settings.own_servers:
        raise BadSettings(
            f"ROLLCALL_{name.upper()}: required with ROLLCALL_MYSQL_URL; create a key with "
            f"`openssl rand -base64 {KEY_BYTES}`, keep it safe, and set the same key for every process"
        )
    path = settings.data_dir / "keys" / name.replace("_", "-")
    text = kept_secret(path, lambda: base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode())
    try:
        return KeyRing(decoded_key(text), others)
    except ValueError as error:
        raise BadSettings(f"{path}: {error}") from None


def kept_secret(path: Path, make: Callable[[], str]) -> str:
    """The secret in a file. A missing file is created, readable only by this operating system user.

    The secret is written to a draft, which is then linked to `path`. The link fails if another process was faster, so
    the first one wins, and no process reads half a file.

    Raises:
        BadSettings: the directory cannot be created.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadSettings(f"ROLLCALL_DATA_DIR: cannot create {error.filename}: {error.strerror}") from error
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(make())
        with suppress(FileExistsError):
            path.hardlink_to(draft)
        draft.unlink()
    return path.read_text()
