"""Where a MySQL schema is, as a URL says it."""

from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Address:
    """Where a MySQL schema is and how to sign in to it."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `mysql://USER:PASSWORD@HOST:PORT/SCHEMA`.

        Raises:
            ValueError: the URL is of another form; the message says what is missing, never the password.
        """
        parts = urlsplit(url)
        database = parts.path.strip("/")
        needed = {
            "the scheme mysql://": parts.scheme == "mysql",
            "a host": parts.hostname,
            "a user": parts.username,
            "a schema name after the host": database,
        }
        missing = [what for what, there in needed.items() if not there]
        if missing or parts.query or "/" in database:
            raise ValueError(
                "expected mysql://USER:PASSWORD@HOST:PORT/SCHEMA"
                + (f", missing: {', '.join(missing)}" if missing else ", and nothing after it")
            )
        return cls(
            parts.hostname or "",
            parts.port or 3306,
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            database,
        )
