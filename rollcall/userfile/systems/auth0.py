"""Auth0: a line of JSON for each user, from the export of users, with or without password hashes.

https://auth0.com/docs/manage-users/user-migration/bulk-user-exports
"""

from typing import Final

from rollcall.userfile.systems.hash_config import HashConfig
from rollcall.userfile.systems.system import Fields, System


def _prepare(fields: Fields, _config: HashConfig | None) -> Fields | None:
    """An email that Auth0 made the name of the user is not the name of a person."""
    custom = fields.get("custom_password_hash")
    if isinstance(custom, dict) and isinstance(hash_ := custom.get("hash"), dict):
        fields = {name: value for name, value in fields.items() if name != "custom_password_hash"}
        fields["passwordHash"] = hash_.get("value")
    if fields.get("name") == fields.get("email"):
        fields = {name: value for name, value in fields.items() if name != "name"}
    return fields


FIELD_NAMES: Final = ("user_id", "user_metadata", "app_metadata", "identities", "logins_count", "passwordHash")

AUTH0: Final = System(
    name="auth0",
    title="Auth0 user export",
    recognises=lambda fields: (
        "email" in fields
        and (
            ("user_id" in fields and any(name in fields for name in FIELD_NAMES[1:]))
            or ("_id" in fields and "tenant" in fields and "connection" in fields)
            or str(fields.get("user_id")).startswith(("auth0|", "google-oauth2|", "email|", "samlp|"))
        )
    ),
    usual={
        "username": ("username",),
        "email": ("email",),
        "name": ("name", "given_name+family_name", "nickname"),
        "password_hash": ("passwordHash", "password_hash"),
        "id": ("user_id", "_id"),
        "created_at": ("created_at",),
        "disabled": ("blocked",),
    },
    left_out=(
        "logins_count",
        "last_login",
        "last_ip",
        "last_password_reset",
        "password_set_date",
        "multifactor",
        "guardian_authenticators",
    ),
    prepare=_prepare,
)
