"""The bugs that are planted to see whether chaos notices can still be planted."""

import subprocess
from pathlib import Path

import pytest

from tests.chaos.planted.__main__ import HERE, PLANTED, ROOT


def test_every_patch_is_planted_and_every_planted_bug_has_its_patch() -> None:
    """None is forgotten in the directory."""
    assert sorted(path.stem for path in HERE.glob("*.patch")) == sorted(planted.patch for planted in PLANTED)


@pytest.mark.parametrize("path", sorted(HERE.glob("*.patch")), ids=lambda path: path.stem)
def test_a_patch_fits_the_tree(path: Path) -> None:
    """When what it breaks has moved, it must be made anew."""
    subprocess.run(["git", "apply", "--check", str(path)], cwd=ROOT, check=True)
