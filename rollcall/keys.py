"""The two secrets of an installation: from the settings, or beside the private servers' data."""

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
class Keys:
    """32 bytes each."""

    master: bytes = field(repr=False)
    signing: bytes = field(repr=False)
    other_masters: tuple[bytes, ...] = field(default=(), repr=False)
    """Master keys that only unwrap, while the master key is being rotated."""
    other_signing: tuple[bytes, ...] = field(default=(), repr=False)
    """Signing keys that only verify, while the signing key is being changed."""


def keys_of(settings: Settings) -> Keys:
    """The keys to work with.

    With private servers they are made at the first start and kept under the data directory, for this user's eyes
    only. With an operator's own servers they must be given: a fresh key beside an old log would let every username
    be taken a second time.

    Raises:
        BadSettings: a key is needed and not set, or a key file is damaged.
    """
    return Keys(
        master=_key(settings, "master_key"),
        signing=_key(settings, "signing_key"),
        other_masters=_others(settings.other_master_key),
        other_signing=_others(settings.other_signing_key),
    )


def _others(given: SecretStr | None) -> tuple[bytes, ...]:
    return (decoded_key(given.get_secret_value()),) if given else ()


def _key(settings: Settings, name: str) -> bytes:
    given = getattr(settings, name)
    if given is not None:
        return decoded_key(given.get_secret_value())
    if settings.own_servers:
        raise BadSettings(
            f"ROLLCALL_{name.upper()}: needed beside ROLLCALL_MYSQL_URL; make one with "
            f"`openssl rand -base64 {KEY_BYTES}`, keep it safe, and give the same one to every process"
        )
    return _kept_key(settings.data_dir / "keys" / name.replace("_", "-"))


def _kept_key(path: Path) -> bytes:
    text = kept_secret(path, lambda: base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode())
    try:
        return decoded_key(text)
    except ValueError as error:
        raise BadSettings(f"{path}: {error}") from None


def kept_secret(path: Path, make: Callable[[], str]) -> str:
    """The secret in a file; made and written, for this user's eyes only, if there is no such file.

    It is written beside its place and then linked into it, which fails if another process was quicker: so whoever
    comes first decides, and nobody reads half a file.

    Raises:
        BadSettings: there is no place for it.
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
