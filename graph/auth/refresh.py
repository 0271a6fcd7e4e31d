"""Refresh tokens: 256 random bits as 43 characters of base64url. The database holds their SHA-256 only.

A token is replaced at each use, and a token that comes a second time tells that two have it: its session is ended.
But an honest client does that too. Two tabs wake up together and send the same token; or the answer to a refresh is
lost on the way, and the client sends it again. So within a grace of some seconds a second use is answered once more.

With what? A second successor, as others give, would split the session in two lines that go on side by side: a thief
who is quick enough would have a line of its own, which no reuse ever gives away. So the second use gets *the same*
successor as the first, and a session has one line of tokens and one token in force, always. The server cannot
look the successor up, since it keeps only a hash. It makes it anew: a successor is the HMAC of a random salt under
the token that it replaces. The salt is kept beside the used token. Who reads the database has the salt and not the
token, who has stolen an old token has no salt; neither can make the next one.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field

SECRET_BYTES = 32

Random = Callable[[int], bytes]
"""So many bytes that nobody can foretell."""

# 32 bytes are 43 characters, and the 2 bits that the last one has to spare are zero: each token has one spelling.
_FORM = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """What a client keeps to stay signed in."""

    secret: bytes = field(repr=False)

    @classmethod
    def new(cls, random: Random) -> "RefreshToken":
        """The first token of a session."""
        return cls(random(SECRET_BYTES))

    @classmethod
    def read(cls, text: str) -> "RefreshToken | None":
        """The token that a text is; None if it is none."""
        return cls(base64.urlsafe_b64decode(f"{text}=")) if _FORM.fullmatch(text) else None

    @property
    def text(self) -> str:
        """As the client gets it."""
        return base64.urlsafe_b64encode(self.secret).decode().rstrip("=")

    @property
    def hash(self) -> bytes:
        """As the database keeps it. Against 256 random bits no slow hash is needed."""
        return hashlib.sha256(self.secret).digest()

    def successor(self, salt: bytes) -> "RefreshToken":
        """The token that replaces this one."""
        return RefreshToken(hmac.digest(self.secret, salt, hashlib.sha256))
