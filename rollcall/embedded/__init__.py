"""Private, real MySQL and MongoDB servers for development and tests.

    async with servers(Path("var"), print) as addresses:
        ...  # addresses.mysql_url, addresses.mongo_url

The first process that asks for the servers of a data directory starts them, owns them and stops them;
other processes with the same data directory find them in `servers.json` and use them.
"""

from rollcall.embedded.servers import Addresses, servers
from rollcall.embedded.sources import ServersUnavailable

__all__ = ["Addresses", "ServersUnavailable", "servers"]
