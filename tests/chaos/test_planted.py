"""The patches of the planted bugs still apply."""

import subprocess
from pathlib import Path

import pytest

from tests.chaos.planted.__main__ import HERE, PLANTED, ROOT


def test_every_patch_is_planted_and_every_planted_bug_has_its_patch() -> None:
    """The directory and the list agree."""
    assert sorted(path.stem for path in HERE.glob("*.patch")) == sorted(planted.patch for planted in PLANTED)


@pytest.mark.parametrize("path", sorted(HERE.glob("*.patch")), ids=lambda path: path.stem)
def test_a_patch_fits_the_tree(path: Path) -> None:
    """A patch must be updated when the code that it breaks moves."""
    subprocess.run(["git", "apply", "--check", str(path)], cwd=ROOT, check=True)
