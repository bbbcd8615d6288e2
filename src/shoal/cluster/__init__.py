"""Servers for trying Shoal across nodes, and for tests: PostgreSQL and NATS from wheels (extra ``cluster``), on loopback.

A deployment points at real servers by URL; these are started by one process and end with it.
"""

from __future__ import annotations

from shoal.cluster.local import LocalServers
from shoal.cluster.nats import NatsServer
from shoal.cluster.postgres import PostgresServer

__all__ = ["LocalServers", "NatsServer", "PostgresServer"]
