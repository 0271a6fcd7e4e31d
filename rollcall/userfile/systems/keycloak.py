"""Keycloak: the export of a realm, an object with an array `users`; credentials are JSON inside strings.

https://www.keycloak.org/server/importExport
"""

import base64
import binascii
from typing import Any, Final

import msgspec

from rollcall.userfile.rows import RecordFault
from rollcall.userfile.systems.hash_config import HashConfig
from rollcall.userfile.systems.system import Fields, System


class _Secret(msgspec.Struct):
    value: str
    salt: str


class _Parameters(msgspec.Struct):
    algorithm: str
    iterations: int = msgspec.field(name="hashIterations", default=0)
    more: dict[str, list[str]] | None = msgspec.field(name="additionalParameters", default=None)


def _prepare(fields: Fields, _config: HashConfig | None) -> Fields | RecordFault | None:
    rest = {name: value for name, value in fields.items() if name != "credentials"}
    credentials = fields.get("credentials")
    for credential in credentials if isinstance(credentials, list) else ():
        if isinstance(credential, dict) and credential.get("type") == "password":
            rest["password_hash"] = _hash(credential)
    enabled = rest.pop("enabled", True)
    if enabled is False:
        rest["disabled"] = True
    attributes = rest.get("attributes")
    if isinstance(attributes, dict):  # every value is a list there
        rest["attributes"] = {
            name: value[0] if isinstance(value, list) and len(value) == 1 else value
            for name, value in attributes.items()
        }
    return rest


def _hash(credential: dict[str, Any]) -> str:
    try:
        secret = msgspec.json.decode(str(credential.get("secretData")), type=_Secret)
        given = msgspec.json.decode(str(credential.get("credentialData")), type=_Parameters)
        salt, digest = base64.b64decode(secret.salt, validate=True), base64.b64decode(secret.value, validate=True)
    except (msgspec.DecodeError, binascii.Error):
        return "a credential of Keycloak in another form"
    if given.algorithm.startswith("pbkdf2"):
        name = {"pbkdf2": "pbkdf2", "pbkdf2-sha256": "pbkdf2-sha256", "pbkdf2-sha512": "pbkdf2-sha512"}.get(
            given.algorithm, given.algorithm
        )
        return f"${name}${given.iterations}${_adapted(salt)}${_adapted(digest)}"
    if given.algorithm == "argon2":
        more = {key: values[0] for key, values in (given.more or {}).items() if values}
        version = {"1.0": 16, "1.3": 19}.get(more.get("version", "1.3"), 0)
        costs = f"m={more.get('memory')},t={given.iterations},p={more.get('parallelism')}"
        return f"$argon2{more.get('type', 'id')}$v={version}${costs}${_unpadded(salt)}${_unpadded(digest)}"
    return f"Keycloak's {given.algorithm:.40}"


def _unpadded(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")


def _adapted(raw: bytes) -> str:
    return _unpadded(raw).replace("+", ".")


KEYCLOAK: Final = System(
    name="keycloak",
    title="Keycloak realm export",
    recognises=lambda fields: (
        "createdTimestamp" in fields and "username" in fields and ("enabled" in fields or "credentials" in fields)
    ),
    usual={
        "username": ("username",),
        "email": ("email",),
        "name": ("firstName+lastName",),
        "password_hash": ("password_hash",),
        "id": ("id",),
        "created_at": ("createdTimestamp",),
        "disabled": ("disabled",),
    },
    left_out=(
        "notBefore",
        "requiredActions",
        "disableableCredentialTypes",
        "federatedIdentities",
        "access",
        "userProfileMetadata",
        "totp",
    ),
    prepare=_prepare,
)
