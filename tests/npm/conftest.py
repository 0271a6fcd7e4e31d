"""Fixtures of this folder."""

from tests.graph.conftest import complaints, own_site, shared_site, site
from tests.npm.node import npm_packages
from tests.system.conftest import urls

__all__ = ["complaints", "npm_packages", "own_site", "shared_site", "site", "urls"]
