"""Signatures of requests, as Standard Webhooks 1.0 defines them.

The signed text is the message's id, the time of the attempt and the body, separated by dots, so neither can be changed
and an old request cannot be sent again much later. `v1` is HMAC-SHA-256 with a secret that endpoint and sender share;
`v1a` is Ed25519, for endpoints that want to verify without being able to sign. A request carries a signature for each
secret in force, so a secret can be replaced without a gap.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SECRET_BYTES: Final = 32
"""The standard allows 24 to 64."""
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - a prefix
PUBLIC_PREFIX: Final = "whpk_"
OVERLAP: Final = timedelta(days=1)
"""How long a replaced secret goes on signing beside the new one."""


class Secret(msgspec.Struct, frozen=True):
    """A secret that signs."""

    value: bytes
    ends_at: datetime | None = None
    """When it stops to sign, UTC; None for the secret in force."""

    @property
    def text(self) -> str:
        """As the receiver configures it."""
        return SECRET_PREFIX + base64.b64encode(self.value).decode()

    def __repr__(self) -> str:
        return f"Secret(ends_at={self.ends_at})"


def new_secret(random: Callable[[int], bytes]) -> Secret:
    """A secret in force."""
    return Secret(random(SECRET_BYTES))


def rotated(secrets: Iterable[Secret], now: datetime, random: Callable[[int], bytes]) -> tuple[Secret, ...]:
    """A new secret, and the one that was in force until now, which signs for `OVERLAP` more. Older ones go."""
    in_force = [secret for secret in secrets if secret.ends_at is None]
    return (new_secret(random), *(msgspec.structs.replace(old, ends_at=now + OVERLAP) for old in in_force))


def public_key(seed: bytes) -> str:
    """The Ed25519 key that verifies `v1a` signatures, as the receiver configures it."""
    raw = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return PUBLIC_PREFIX + base64.b64encode(raw).decode()


def signature_headers(
    message_id: str, sent_at: datetime, body: bytes, secrets: Iterable[Secret], seed: bytes | None
) -> dict[str, str]:
    """The headers of a request. `seed` is of the Ed25519 key, None for an endpoint that wants `v1` only."""
    timestamp = str(int(sent_at.timestamp()))
    text = b".".join((message_id.encode(), timestamp.encode(), body))
    signatures = [
        "v1," + base64.b64encode(hmac.new(secret.value, text, hashlib.sha256).digest()).decode()
        for secret in secrets
        if secret.ends_at is None or secret.ends_at > sent_at
    ]
    if seed is not None:
        signed = Ed25519PrivateKey.from_private_bytes(seed).sign(text)
        signatures.append("v1a," + base64.b64encode(signed).decode())
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
    }
