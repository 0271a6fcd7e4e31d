"""LDAP directories: the people of an LDIF file, as OpenLDAP's slapcat and 389 Directory Server write it."""

from typing import Final

from rollcall.userfile.systems.hash_config import HashConfig
from rollcall.userfile.systems.system import Fields, System

PEOPLE: Final = frozenset({"person", "inetorgperson", "organizationalperson", "posixaccount", "user", "account"})
"""Object classes whose entries are users. Others of a directory are units and groups."""
OPERATIONAL: Final = (
    "dn",
    "objectclass",
    "structuralobjectclass",
    "entryuuid",
    "entrycsn",
    "creatorsname",
    "modifiersname",
    "modifytimestamp",
    "contextcsn",
    "entrydn",
    "subschemasubentry",
    "hassubordinates",
    "pwdhistory",
    "pwdfailuretime",
    "pwdchangedtime",
    "pwdreset",
    "sambantpassword",
    "sambalmpassword",
    "sambapwdlastset",
    "sambapasswordhistory",
    "jpegphoto",
    "usercertificate",
    "usersmimecertificate",
    "nsuniqueid",
    "changetype",
)
"""Attributes of the directory itself, and binary ones."""


def _prepare(fields: Fields, _config: HashConfig | None) -> Fields | None:
    """The first of several values where one is wanted; the id that the directory gave the entry."""
    classes = fields.get("objectclass", [])
    names = classes if isinstance(classes, list) else [classes]
    if not PEOPLE & {str(name).lower() for name in names}:
        return None
    entry = {"entryid": fields.get("entryuuid"), **fields}
    for name in ("uid", "mail", "cn", "displayname", "userpassword", "givenname", "sn"):
        if isinstance(value := entry.get(name), list):
            entry[name] = value[0]
    locked = any(entry.get(name) not in (None, "", "FALSE") for name in ("pwdaccountlockedtime", "nsaccountlock"))
    return {**entry, "disabled": locked}


LDAP: Final = System(
    name="ldif",
    title="an LDAP directory",
    recognises=lambda fields: "dn" in fields and "objectclass" in fields,
    usual={
        "username": ("uid", "samaccountname"),
        "email": ("mail",),
        "name": ("displayname", "cn", "givenname+sn"),
        "password_hash": ("userpassword",),
        "id": ("entryid",),
        "created_at": ("createtimestamp",),
        "disabled": ("disabled",),
    },
    left_out=(*OPERATIONAL, "pwdaccountlockedtime", "nsaccountlock"),
    prepare=_prepare,
)
