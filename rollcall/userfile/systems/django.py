"""Django: `manage.py dumpdata auth.user`, whole or as lines, and a CSV of the table `auth_user`.

https://docs.djangoproject.com/en/5.2/ref/django-admin/#dumpdata
"""

from typing import Final

from rollcall.userfile.systems.hash_config import HashConfig
from rollcall.userfile.systems.system import Fields, System


def _is_dumped(fields: Fields) -> bool:
    return isinstance(fields.get("model"), str) and isinstance(fields.get("fields"), dict)


def _prepare(fields: Fields, _config: HashConfig | None) -> Fields | None:
    """The fields of a user; None for an object of another model, of which a dump may be full."""
    if _is_dumped(fields):
        inner = fields["fields"]
        if not isinstance(inner, dict) or "password" not in inner:
            return None
        fields = {"id": fields.get("pk"), **inner}
    active = fields.get("is_active")
    if active is False or str(active).lower() in {"f", "false", "0"}:
        fields = {**fields, "disabled": True}
    password = fields.get("password")
    if isinstance(password, str) and password.startswith("!"):  # set_unusable_password
        fields = {**fields, "password": None}
    return fields


DJANGO: Final = System(
    name="django",
    title="Django's auth.user, a dump or the table",
    recognises=lambda fields: (
        (_is_dumped(fields) and "pk" in fields) or {"password", "is_superuser", "date_joined"} <= fields.keys()
    ),
    usual={
        "username": ("username",),
        "email": ("email",),
        "name": ("first_name+last_name", "full_name", "name"),
        "password_hash": ("password",),
        "id": ("id",),
        "created_at": ("date_joined",),
        "disabled": ("disabled",),
    },
    left_out=("last_login", "user_permissions"),
    prepare=_prepare,
)
