"""Signatures: the Standard Webhooks library verifies them."""

import base64
import secrets
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from projections.webhooks.signatures import OVERLAP, Secret, new_secret, public_key, rotated, signature_headers

BODY = '{"name": "Zoë"}'.encode()


def now() -> datetime:
    return datetime.now(UTC)


def verifies(secret: Secret, headers: dict[str, str], body: bytes = BODY) -> bool:
    """Whether the library accepts the request."""
    try:
        Webhook(secret.text).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


def test_a_receiver_verifies_a_request_with_its_secret_and_with_no_other() -> None:
    """Neither id, time nor body can be changed."""
    secret, other = new_secret(secrets.token_bytes), new_secret(secrets.token_bytes)
    headers = signature_headers("one", now(), BODY, [secret], None)
    assert verifies(secret, headers)
    assert not verifies(other, headers)
    assert not verifies(secret, headers, BODY.replace(b"Z", b"z"))
    assert not verifies(secret, headers | {"webhook-id": "two"})
    assert not verifies(secret, signature_headers("one", now() - timedelta(hours=1), BODY, [secret], None))


def test_both_secrets_sign_while_one_is_replaced() -> None:
    """For a day; a third one ends the first."""
    first = new_secret(secrets.token_bytes)
    both = rotated([first], now(), secrets.token_bytes)
    headers = signature_headers("one", now(), BODY, both, None)
    assert verifies(first, headers)
    assert verifies(both[0], headers)
    third = rotated(both, now(), secrets.token_bytes)
    assert len(third) == 2
    assert not verifies(first, signature_headers("one", now(), BODY, third, None))
    late = now() + OVERLAP + timedelta(seconds=1)
    assert len(signature_headers("one", late, BODY, both, None)["webhook-signature"].split()) == 1


def test_an_ed25519_signature_is_verified_with_the_public_key() -> None:
    """Beside the other one, so either may be used."""
    seed, secret = secrets.token_bytes(32), new_secret(secrets.token_bytes)
    headers = signature_headers("one", now(), BODY, [secret], seed)
    assert verifies(secret, headers)
    (signature,) = [part[4:] for part in headers["webhook-signature"].split() if part.startswith("v1a,")]
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key(seed).removeprefix("whpk_")))
    signed = b".".join((b"one", headers["webhook-timestamp"].encode(), BODY))
    key.verify(base64.b64decode(signature), signed)
    with pytest.raises(InvalidSignature):
        key.verify(base64.b64decode(signature), signed + b"x")
