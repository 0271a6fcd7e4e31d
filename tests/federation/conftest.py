"""Fixtures of this folder."""

from tests.system.conftest import urls

__all__ = ["urls"]
