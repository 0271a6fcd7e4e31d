"""The secrets of an installation: from the settings, or beside the data of private servers."""

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
    """A key of 32 bytes, and others that only unwrap or verify while the key is being rotated."""

    current: bytes = field(repr=False)
    others: tuple[bytes, ...] = field(default=(), repr=False)


def master_keys(settings: Settings) -> KeyRing:
    """The master keys.

    Private servers get a key at their first start, kept under the data directory and readable by this user only. With
    an operator's own servers it must be given: a new key beside an old log would let every username be taken again.

    Raises:
        BadSettings: the key is needed and not set, or a key file is damaged.
    """
    return _ring(settings, "master_key", settings.master_key, settings.other_master_key)


def signing_keys(settings: Settings) -> KeyRing:
    """The keys of access tokens, found like the master keys.

    Raises:
        BadSettings: the key is needed and not set, or a key file is damaged.
    """
    return _ring(settings, "signing_key", settings.signing_key, settings.other_signing_key)


def _ring(settings: Settings, name: str, given: SecretStr | None, other: SecretStr | None) -> KeyRing:
    others = (decoded_key(other.get_secret_value()),) if other else ()
    if given is not None:
        return KeyRing(decoded_key(given.get_secret_value()), others)
    if settings.own_servers:
        raise BadSettings(
            f"ROLLCALL_{name.upper()}: needed beside ROLLCALL_MYSQL_URL; make one with "
            f"`openssl rand -base64 {KEY_BYTES}`, keep it safe, and give the same one to every process"
        )
    path = settings.data_dir / "keys" / name.replace("_", "-")
    text = kept_secret(path, lambda: base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode())
    try:
        return KeyRing(decoded_key(text), others)
    except ValueError as error:
        raise BadSettings(f"{path}: {error}") from None


def kept_secret(path: Path, make: Callable[[], str]) -> str:
    """The secret in a file, which is made if it is missing and readable by this user only.

    It is written to a draft and then linked to its path, which fails if another process was quicker: the first one
    decides, and no process reads half a file.

    Raises:
        BadSettings: the directory cannot be made.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadSettings(f"ROLLCALL_DATA_DIR: {error.filename} cannot be made: {error.strerror}") from error
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(make())
        with suppress(FileExistsError):
            path.hardlink_to(draft)
        draft.unlink()
    return path.read_text()
