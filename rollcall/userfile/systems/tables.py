"""Systems whose users are a table: WordPress, Devise (Rails), Supabase and Okta."""

from typing import Final

import msgspec

from rollcall.userfile.systems.hash_config import HashConfig
from rollcall.userfile.systems.system import Fields, System, has


def _supabase(fields: Fields, _config: HashConfig | None) -> Fields | None:
    """The metadata as objects: a CSV has them as text."""
    read = dict(fields)
    for name in ("raw_user_meta_data", "raw_app_meta_data"):
        value = fields.get(name)
        if isinstance(value, str):
            try:
                read[name] = msgspec.json.decode(value)
            except msgspec.DecodeError:
                read[name] = value
    return read


WORDPRESS: Final = System(
    name="wordpress",
    title="WordPress's table wp_users",
    recognises=has("user_login", "user_email"),
    usual={
        "username": ("user_login",),
        "email": ("user_email",),
        "name": ("display_name", "first_name+last_name", "user_nicename"),
        "password_hash": ("user_pass",),
        "id": ("ID", "id"),
        "created_at": ("user_registered",),
        "disabled": (),
    },
    left_out=("user_activation_key", "user_status", "session_tokens", "role"),
)

# https://github.com/heartcombo/devise/blob/main/lib/generators/active_record/devise_generator.rb
DEVISE: Final = System(
    name="devise",
    title="Devise's table users (Rails)",
    recognises=lambda fields: (
        {"encrypted_password", "email"} <= fields.keys()
        and bool({"reset_password_token", "remember_created_at", "sign_in_count"} & fields.keys())
        and "raw_user_meta_data" not in fields
    ),
    usual={
        "username": ("username", "login"),
        "email": ("email",),
        "name": ("name", "full_name", "first_name+last_name"),
        "password_hash": ("encrypted_password",),
        "id": ("id",),
        "created_at": ("created_at",),
        "disabled": (),
    },
    left_out=(
        "reset_password_token",
        "reset_password_sent_at",
        "remember_created_at",
        "sign_in_count",
        "current_sign_in_at",
        "last_sign_in_at",
        "current_sign_in_ip",
        "last_sign_in_ip",
        "confirmation_token",
        "confirmation_sent_at",
        "unlock_token",
        "failed_attempts",
        "role",
    ),
)

# https://supabase.com/docs/guides/auth/users
SUPABASE: Final = System(
    name="supabase",
    title="Supabase's table auth.users",
    recognises=has("encrypted_password", "raw_user_meta_data", "email"),
    usual={
        "email": ("email",),
        "name": ("raw_user_meta_data.full_name", "raw_user_meta_data.name", "raw_user_meta_data.display_name"),
        "password_hash": ("encrypted_password",),
        "id": ("id",),
        "created_at": ("created_at",),
        "disabled": ("deleted_at", "banned_until"),
    },
    left_out=(
        "instance_id",
        "aud",
        "role",
        "invited_at",
        "confirmation_token",
        "confirmation_sent_at",
        "recovery_token",
        "recovery_sent_at",
        "email_change_token_new",
        "email_change_token_current",
        "email_change",
        "email_change_sent_at",
        "email_change_confirm_status",
        "phone_change",
        "phone_change_token",
        "phone_change_sent_at",
        "reauthentication_token",
        "reauthentication_sent_at",
        "last_sign_in_at",
        "confirmed_at",
        "is_super_admin",
    ),
    prepare=_supabase,
)

# https://help.okta.com/en-us/content/topics/users-groups-profiles/usgp-import-users.htm
OKTA: Final = System(
    name="okta",
    title="Okta's CSV of users",
    recognises=lambda fields: {"login", "firstName", "lastName", "email"} <= fields.keys(),
    usual={
        "username": ("login",),
        "email": ("email",),
        "name": ("displayName", "firstName+lastName"),
        "id": ("id",),
        "created_at": ("created",),
        "disabled": (),
    },
    left_out=("managerId", "role"),
)
