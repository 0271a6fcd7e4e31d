"""The parameters of Firebase's scrypt, as its console shows them under "Password hash parameters"."""

import base64
import binascii
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rollcall.userfile.rows import UserFileError

_LINE: Final = re.compile(r'"?(\w+)"?\s*[:=]\s*"?([^",\s]+)"?,?')
LARGEST_BYTES: Final = 10_000


@dataclass(frozen=True, slots=True)
class HashConfig:
    """What a project's hashes have in common."""

    signer_key: bytes
    salt_separator: bytes
    rounds: int
    mem_cost: int
    """The logarithm of scrypt's N."""


def read_hash_config(path: Path) -> HashConfig:
    """Read `hash_config { algorithm: SCRYPT, base64_signer_key: ..., ... }`, or the same as JSON.

    Raises UserFileError.
    """
    try:
        with path.open(encoding="utf-8") as file:
            found = dict(_LINE.findall(file.read(LARGEST_BYTES)))
    except (OSError, UnicodeDecodeError) as error:
        raise UserFileError(f"--hash-config {path} cannot be read: {error}") from error
    try:
        return HashConfig(
            signer_key=base64.b64decode(found["base64_signer_key"], validate=True),
            salt_separator=base64.b64decode(found.get("base64_salt_separator", ""), validate=True),
            rounds=int(found["rounds"]),
            mem_cost=int(found["mem_cost"]),
        )
    except (KeyError, ValueError, binascii.Error) as error:
        raise UserFileError(
            f"--hash-config {path} is not what Firebase's console shows under 'Password hash parameters': expected "
            f"base64_signer_key, base64_salt_separator, rounds and mem_cost; the value at fault is {error}"
        ) from None
