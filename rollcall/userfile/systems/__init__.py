"""The systems whose files are recognised, one module each."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from rollcall.userfile.rows import UserFileError
from rollcall.userfile.systems.auth0 import AUTH0
from rollcall.userfile.systems.django import DJANGO
from rollcall.userfile.systems.firebase import FIREBASE, columns_without_header
from rollcall.userfile.systems.hash_config import HashConfig, read_hash_config
from rollcall.userfile.systems.keycloak import KEYCLOAK
from rollcall.userfile.systems.ldap import LDAP
from rollcall.userfile.systems.system import Fields, System
from rollcall.userfile.systems.tables import DEVISE, OKTA, SUPABASE, WORDPRESS

__all__ = [
    "OWN",
    "SYSTEMS",
    "HashConfig",
    "System",
    "columns_without_header",
    "read_hash_config",
    "recognised",
    "system_called",
]

OWN: Final = System(name="rollcall", title="fields by their own names", recognises=lambda _: False)
"""Of a file that is none of a known system."""

SYSTEMS: Final[Mapping[str, System]] = MappingProxyType(
    {
        system.name: system
        for system in (FIREBASE, AUTH0, KEYCLOAK, DJANGO, WORDPRESS, SUPABASE, DEVISE, OKTA, LDAP, OWN)
    }
)
"""By their names for `--format`, in the order in which they are tried."""


def recognised(sample: Iterable[Fields]) -> System:
    """The system whose files have such records."""
    records = list(sample)
    return next((system for system in SYSTEMS.values() if any(map(system.recognises, records))), OWN)


def system_called(name: str) -> System:
    """The system of `--format`.

    Raises:
        UserFileError: there is none of this name.
    """
    if name not in SYSTEMS:
        raise UserFileError(f"--format {name!r:.40} is not known: expected one of {', '.join(SYSTEMS)}")
    return SYSTEMS[name]
