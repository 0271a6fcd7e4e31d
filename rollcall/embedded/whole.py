"""Files and directories that are there whole or not at all, whatever interrupts their making."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_directory(place: Path) -> Iterator[Path]:
    """A new directory beside `place`, moved there when the block ends well, else removed.

    What killed processes left of theirs is removed: hold a lock that keeps others from making `place`. Each has a
    name of its own, for a server of the killed process may still be writing into the old one; what it writes after
    the first removal goes with the second.
    """
    prefix = f"{place.name}.new-"
    _remove(place.parent, prefix)
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=place.parent))
    try:
        yield made
        made.rename(place)
    finally:
        _remove(place.parent, prefix)


def _remove(folder: Path, prefix: str) -> None:
    for left in folder.glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)


def write_private(path: Path, content: str) -> None:
    """Put a file in place that only its owner may read."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    partial.replace(path)
