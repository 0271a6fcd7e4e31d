"""Firebase, `firebase auth:export users.json`: an object with an array `users`. Or `--format=csv`, without a header.

https://firebase.google.com/docs/cli/auth
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Final

import msgspec

from rollcall.userfile.rows import JSON, RecordFault
from rollcall.userfile.systems.hash_config import HashConfig
from rollcall.userfile.systems.system import Fields, System

WITHOUT_CONFIG: Final = "Firebase's scrypt, whose parameters --hash-config has to give"

PROVIDERS: Final = ("google.com", "facebook.com", "twitter.com", "github.com")
PROVIDER_KEYS: Final = ("rawId", "email", "displayName", "photoUrl")
PROVIDER_COLUMNS: Final = tuple(f"{provider} {key}" for provider in PROVIDERS for key in PROVIDER_KEYS)
CSV_COLUMNS: Final = (
    *("localId", "email", "emailVerified", "passwordHash", "salt", "displayName", "photoUrl"),
    *PROVIDER_COLUMNS,
    *("createdAt", "lastSignedInAt", "phoneNumber", "disabled", "customAttributes"),
)
"""In the order of the documentation. Older exports end with the telephone number; each row ends with a comma."""
_OLDEST: Final = CSV_COLUMNS.index("phoneNumber") + 1


def columns_without_header(cells: list[str]) -> Sequence[str] | None:
    """The columns of an export as CSV, by the cells of its first row; None if it is none."""
    if not _OLDEST <= len(cells) <= len(CSV_COLUMNS) + 1:
        return None
    row = dict(zip(CSV_COLUMNS, cells, strict=False))
    numbers = row["createdAt"], row["lastSignedInAt"]
    is_export = (
        row["localId"] and row["emailVerified"] in {"true", "false"} and all(n.isdecimal() or not n for n in numbers)
    )
    return CSV_COLUMNS if is_export and row.get("disabled", "") in {"", "true", "false"} else None


def _as_json(fields: Fields) -> Fields:
    """The record of a row of CSV with the fields that it has in JSON."""
    rest = {name: value for name, value in fields.items() if name not in PROVIDER_COLUMNS}
    if isinstance(verified := rest.get("emailVerified"), str):
        rest["emailVerified"] = verified == "true"
    providers: list[JSON] = [
        {"providerId": provider, **found}
        for provider in PROVIDERS
        if (found := {key: value for key in PROVIDER_KEYS if (value := fields.get(f"{provider} {key}"))})
    ]
    if providers:
        rest["providerUserInfo"] = providers
    return rest


def _prepare(fields: Fields, config: HashConfig | None) -> Fields | RecordFault | None:
    fields = _as_json(fields)
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
