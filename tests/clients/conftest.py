"""Fixtures of this folder."""

from tests.clients.package import package
from tests.pages.conftest import stack

__all__ = ["package", "stack"]
