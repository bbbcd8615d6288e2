"""The four abstractions: Store, Bus, Host and Clock. Their docstrings are the contract that every backend keeps.

**Order.** A verb of the store that writes is a plain function that returns an awaitable: it takes its place in the order
of writes when it is *called*, not when it is awaited. So ``enqueue`` followed by ``claim`` land in one group commit.
One verb is one transaction, and its events are in it. Verbs check everything before they write anything. What was
awaited without an error is on disk. Readers are plain functions, work from any thread and see what is committed.
"""

from __future__ import annotations

from shoal.kernel.ports.agents import AgentChange, AgentStore
from shoal.kernel.ports.bus import Bell, Bus, Receiver, Wire
from shoal.kernel.ports.clock import Clock, Timer
from shoal.kernel.ports.conversations import (
    Conversations,
    Messages,
    NewMessage,
    StoredMessage,
    Thread,
    Threads,
    ThreadStats,
    UserContexts,
)
from shoal.kernel.ports.events import Events
from shoal.kernel.ports.host import (
    Abilities,
    Exit,
    Handle,
    Host,
    Invocation,
    LaunchSpec,
    Link,
    ResourceUsage,
    RuntimeLink,
)
from shoal.kernel.ports.journal import Journal, Step
from shoal.kernel.ports.kv import KV, SharedValue
from shoal.kernel.ports.leases import Child, Lease, Leases, Node, Rescue, Standing
from shoal.kernel.ports.mail import Mail
from shoal.kernel.ports.runs import Begun, Hold, RunEnd, RunOrder, RunStore, RunWrite, RunWriter
from shoal.kernel.ports.store import Store
from shoal.kernel.ports.tasks import (
    Cancelled,
    Claim,
    Ended,
    Fence,
    Outcome,
    QueueState,
    Return,
    Settled,
    Settlement,
    TaskStore,
    target_of,
)

__all__ = [
    "Bell",
    "Wire",
    "Begun",
    "Hold",
    "RunEnd",
    "RunOrder",
    "RunStore",
    "RunWrite",
    "RunWriter",
    "Abilities",
    "AgentChange",
    "AgentStore",
    "Bus",
    "Cancelled",
    "Child",
    "Claim",
    "Clock",
    "Conversations",
    "Ended",
    "Events",
    "Exit",
    "Fence",
    "Handle",
    "Host",
    "Invocation",
    "Journal",
    "KV",
    "LaunchSpec",
    "Lease",
    "Leases",
    "Link",
    "Mail",
    "Messages",
    "NewMessage",
    "Node",
    "Outcome",
    "QueueState",
    "Receiver",
    "Rescue",
    "Return",
    "RuntimeLink",
    "Settled",
    "Settlement",
    "Standing",
    "StoredMessage",
    "SharedValue",
    "Step",
    "Store",
    "TaskStore",
    "Thread",
    "ThreadStats",
    "Threads",
    "UserContexts",
    "Timer",
    "ResourceUsage",
    "target_of",
]
