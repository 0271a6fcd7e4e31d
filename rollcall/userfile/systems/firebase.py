"""Firebase, `firebase auth:export users.json`: an object with an array `users`.

https://firebase.google.com/docs/cli/auth
"""

import base64
import binascii
from typing import Final

import msgspec

from rollcall.userfile.rows import RecordFault
from rollcall.userfile.systems.hash_config import HashConfig
from rollcall.userfile.systems.system import Fields, System

WITHOUT_CONFIG: Final = "Firebase's scrypt, whose parameters --hash-config has to give"


def _prepare(fields: Fields, config: HashConfig | None) -> Fields | RecordFault | None:
    rest = {name: value for name, value in fields.items() if name not in {"passwordHash", "salt", "customAttributes"}}
    claims = fields.get("customAttributes")
    if isinstance(claims, str) and claims:
        try:
            rest["customAttributes"] = msgspec.json.decode(claims)
        except msgspec.DecodeError:
            rest["customAttributes"] = claims
    hash_, salt = fields.get("passwordHash"), fields.get("salt")
    if not (isinstance(hash_, str) and hash_):
        return rest
    if config is None:
        return {**rest, "password_hash": WITHOUT_CONFIG}
    try:
        digest, salted = _bytes(hash_), _bytes(salt if isinstance(salt, str) else "")
    except binascii.Error:
        return RecordFault("passwordHash or salt is not base64")
    key, separator = (base64.b64encode(part).decode() for part in (config.signer_key, config.salt_separator))
    costs = f"v=1,n={1 << config.mem_cost},r={config.rounds},p=1"
    rest["password_hash"] = (
        f"$fbscrypt${costs},ss={separator},sk={key}"
        f"${base64.b64encode(salted).decode()}${base64.b64encode(digest).decode()}"
    )
    return rest


def _bytes(text: str) -> bytes:
    """Base64 in its usual or its URL-safe alphabet, padded or not."""
    text = text.replace("-", "+").replace("_", "/").rstrip("=")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


FIREBASE: Final = System(
    name="firebase",
    title="Firebase auth:export",
    recognises=lambda fields: "localId" in fields,
    usual={
        "email": ("email",),
        "name": ("displayName",),
        "id": ("localId",),
        "created_at": ("createdAt",),
        "disabled": ("disabled",),
    },
    left_out=("lastSignedInAt", "tokensValidAfterTime", "validSince", "lastRefreshAt", "passwordUpdatedAt"),
    prepare=_prepare,
)
