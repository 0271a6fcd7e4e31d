"""Connections to the replicas of the settings, and the reads that they answer."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Final, Self
from uuid import UUID

from events.database import Address, Database
from graph.freshness import ViewPosition
from graph.replicas import ANSWER_SECONDS, Replica, Replicas
from projections.mongo.client import MongoClient, MongoDatabase, url_of_each_host
from projections.mongo.view import MongoView
from projections.mysql.view import MySQLView
from rollcall.settings import Settings
from rollcall.tls import mongo_tls, mysql_tls

REPLICA_CONNECTIONS: Final = 32
PRIMARY_CONNECTIONS: Final = 8
"""Connections to the primary for queries that no replica answers. Commands have their own, and so keep them."""


@dataclass(frozen=True, slots=True)
class MySQLReplica:
    """Two pools on one replica: queries that occupy the first do not keep the checkpoint from being read."""

    queries: Database
    checkpoint: Database


@dataclass(frozen=True, slots=True)
class ReplicaServers:
    """Connections to the replicas, by host."""

    mysql: Mapping[str, MySQLReplica]
    mongo: Mapping[str, MongoClient]
    primary: Database
    """For queries on the MySQL view that no replica answers."""

    @classmethod
    def of(cls, settings: Settings, primary: Address) -> Self:
        """Connect to the replicas as they are needed. TLS is that of the primary.

        Raises:
            BadSettings: a file of TLS cannot be used.
        """
        mysql: dict[str, MySQLReplica] = {}
        if settings.mysql_read_url is not None:
            address = Address.parse(settings.mysql_read_url.get_secret_value(), mysql_tls(settings))
            for host in address.hosts:
                mysql[str(host)] = MySQLReplica(
                    Database.at(address.on(host), size=REPLICA_CONNECTIONS),
                    Database.at(address.on(host), size=1, acquire_timeout=ANSWER_SECONDS),
                )
        mongo: dict[str, MongoClient] = {}
        if settings.mongo_read_url is not None:
            tls = mongo_tls(settings)
            for name, url in url_of_each_host(settings.mongo_read_url.get_secret_value()).items():
                mongo[name] = MongoClient(url, tls, replica=True)
        return cls(mysql, mongo, Database.at(primary, size=PRIMARY_CONNECTIONS))

    def of_mysql(self, log_id: UUID, chance: Random) -> Replicas[Database] | None:
        """The servers of the MySQL view; None without replicas."""
        replicas = [
            Replica(MySQLView.name, host, one.queries, MySQLView(one.checkpoint).checkpoint, log_id)
            for host, one in self.mysql.items()
        ]
        return Replicas(self.primary, ViewPosition(MySQLView(self.primary)), replicas, chance) if replicas else None

    def of_mongo(self, primary: MongoClient, log_id: UUID, chance: Random) -> Replicas[MongoDatabase] | None:
        """The servers of the MongoDB view; None without replicas."""
        replicas = [
            Replica(MongoView.name, host, one.documents, MongoView(one.documents).checkpoint, log_id)
            for host, one in self.mongo.items()
        ]
        position = ViewPosition(MongoView(primary.documents))
        return Replicas(primary.documents, position, replicas, chance) if replicas else None

    async def close(self) -> None:
        """Close every connection."""
        pools = [self.primary, *(pool for one in self.mysql.values() for pool in (one.queries, one.checkpoint))]
        clients = [asyncio.to_thread(client.close) for client in self.mongo.values()]
        await asyncio.gather(*(pool.close() for pool in pools), *clients)
