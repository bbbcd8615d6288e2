"""Locks on names: ``async with get_lock("file", path):``.

A lock is a lease in the store of the runtime whose code asks for it, so it holds among all nodes on that store; outside of
any runtime it is a lock on a file, which holds on this machine. Whoever takes one gets a fencing token, which rises with
every holder, for what checks it (Kleppmann, "How to do distributed locking", 2016).
"""

from __future__ import annotations

from shoal.llm.locks.guards import thread_safe_tool, with_lock
from shoal.llm.locks.ledger import LockStats
from shoal.llm.locks.lock import Lock
from shoal.llm.locks.manager import LockManager, get_lock

__all__ = ["Lock", "LockManager", "LockStats", "get_lock", "thread_safe_tool", "with_lock"]
