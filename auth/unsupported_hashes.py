"""Names of password hashes that other systems write and that cannot be verified here, for the report of an import.

They are recognised by their form alone. A pepper is a secret that the system keeps beside its hashes: only argon2 says
in the hash that there is one (`keyid=`). Of other hashes nothing shows it.
"""

import re
from typing import Final

_BEHIND: Final = re.compile(r"\{crypt\}", re.IGNORECASE)
_FORMS: Final = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"\$1\$.*", "MD5-crypt ($1$)"),
        (r"\$apr1\$.*", "Apache's MD5-crypt ($apr1$)"),
        (r"\$md5[$,].*", "Sun's MD5-crypt ($md5$)"),
        (r"\$sha1\$.*", "SHA1-crypt ($sha1$)"),
        (r"\$3\$.*|\$NT\$.*", "NTLM ($3$)"),
        (r"\$y\$.*|\$gy\$.*", "yescrypt ($y$)"),
        (r"\$7\$.*", "the scrypt of crypt(5) ($7$)"),
        (r"\$argon2(?:id|i|d)\$(?:v=\d+\$)?[^$]*\bkeyid=.*", "argon2 with a pepper (keyid=)"),
        (r"[./0-9A-Za-z]{13}", "DES crypt"),
        (r"_[./0-9A-Za-z]{19}", "BSDi's DES crypt"),
    )
)


def unsupported_hash(encoded: str) -> str | None:
    """What a hash is that no form here can verify; None if it is in none of these forms either."""
    behind = _BEHIND.match(encoded)
    bare = encoded[behind.end() :] if behind else encoded
    return next((name for form, name in _FORMS if form.fullmatch(bare)), None)
