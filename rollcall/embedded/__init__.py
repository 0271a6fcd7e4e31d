"""Private, real MySQL, MongoDB and Kafka servers for development and tests.

    async with servers(Path("var"), print) as addresses:
        ...  # addresses.mysql_url, addresses.mongo_url

The first process that uses a data directory starts its servers, owns them and stops them; other processes find
them in `servers.json` and use them. The drivers are imported when a server is started.
"""

from rollcall.embedded.servers import Addresses, kafka_server, servers
from rollcall.embedded.sources import ServersUnavailable

__all__ = ["Addresses", "ServersUnavailable", "kafka_server", "servers"]
