"""Fixtures of this folder."""

from tests.clients.package import package
from tests.clients.site import bundle, origin
from tests.graph.conftest import complaints, own_site, shared_site, site
from tests.pages.conftest import stack
from tests.system.conftest import urls

__all__ = ["bundle", "complaints", "origin", "own_site", "package", "shared_site", "site", "stack", "urls"]
