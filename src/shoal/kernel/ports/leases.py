"""The store of nodes, their children and leases on names."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Protocol

import msgspec

from shoal.kernel.message import DeadLetter
from shoal.kernel.ports.tasks import Ended

__all__ = ["Child", "Lease", "Leases", "Node", "Rescue", "Standing"]


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One running runtime. ``pid`` and ``pid_started`` (clock ticks since boot) identify its process on ``host``.

    ``draining``: the seconds that its work was given when it was told to drain; None: it was not told. ``load`` (share of
    its machine's cores in use) and ``agents`` (how many live there) are as it said with its last heartbeat.
    """

    node_id: str
    runtime_id: str
    name: str
    host: str
    pid: int
    pid_started: int
    started_at: datetime
    lease_until: datetime
    lost: bool = False
    draining: float | None = None
    load: float = 0.0
    agents: int = 0


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A process that a node started, so that whoever finds the node dead can end it."""

    node_id: str
    pid: int
    pid_started: int
    agent_id: str | None = None


class Rescue(msgspec.Struct, frozen=True, kw_only=True):
    """What a rescue did: nodes found dead, tasks put back, tasks failed for too many losses, agents that failed, mail
    given up for too many failures, and runs that nobody carries out any more."""

    nodes: tuple[str, ...] = ()
    requeued: tuple[str, ...] = ()
    ended: tuple[Ended, ...] = ()
    agents: tuple[str, ...] = ()
    letters: tuple[DeadLetter, ...] = ()
    children: tuple[Child, ...] = ()
    runs: tuple[str, ...] = ()


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A claim on a name that ends by itself. ``token`` rises with every new holder of the name."""

    name: str
    owner: str
    token: int
    until: datetime


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where an owner stands for a name: who holds it now, how many stand before him, and how many stand at all."""

    held: Lease | None
    ahead: int
    waiting: int


class Leases(Protocol):
    """Who is alive, and who holds which name."""

    def join(self, node: Node, *, now: datetime) -> Awaitable[None]:
        """Make a node known. Raises ConfigError when a live node has that name."""
        ...

    def heartbeat(self, node_id: str, *, until: datetime, load: float = 0.0, agents: int = 0) -> bool:
        """Let a node's lease end at *until*, and note how busy it is; False when it was already lost.

        The one write that blocks; from any thread but the loop's.
        """
        ...

    def drain(self, node_id: str, *, seconds: float, now: datetime) -> Awaitable[bool]:
        """Tell a node to leave in order, its work done within *seconds* (``node_draining``).

        It hears of it when it looks at its record. What it has stopped can be taken up elsewhere from here on
        (``AgentStore.register``). False: there is no such node, it is lost, or was told before.
        """
        ...

    def leave(self, node_id: str, *, now: datetime) -> Awaitable[None]:
        """Forget a node that ended in order.

        What it still holds goes back, for the store may have refused to hear of it: its running tasks are pending again
        (``task_interrupted``, no interruption counted), its agents stopped (``agent_stopped``; paused and failed ones stay
        so), its runs interrupted, or cancelled when that was asked (``run_finished``).
        """
        ...

    def rescue(
        self,
        dead: Sequence[str],
        *,
        now: datetime,
        max_interruptions: int,
        max_deliveries: int | None = None,
        spared: Sequence[str] = (),
        silent: Mapping[str, datetime] = MappingProxyType({}),
    ) -> Awaitable[Rescue]:
        """Take over what nodes of *dead* held, and nodes whose lease has ended at *now*, but for those of *spared*.

        Nodes of *silent*, too, if their lease still has the end that is given there, however far away it is: whoever
        judged them by their silence may be late, and one that has renewed since is alive.

        Running tasks go back to pending in their place (``task_interrupted``), or fail with TaskInterruptedError when
        they were lost *max_interruptions* times in a row. Their agents become failed, paused ones stay paused. Taken
        mail is given back, each in its place; what was noted as begun (``Mail.begin``) has failed once more. Of what has
        failed *max_deliveries* times then (None: nothing), the message that each node began last is a dead letter
        (``message_dead_lettered``, reason ``failures``). Their runs are interrupted, or cancelled when that was asked
        (``run_finished``). One ``node_lost`` each. The nodes' fences and holds are void from here on.
        """
        ...

    def adopt(self, child: Child) -> Awaitable[None]:
        """Remember a child process."""
        ...

    def disown(self, node_id: str, pid: int) -> Awaitable[None]:
        """Forget a child process that was reaped."""
        ...

    def acquire(
        self, name: str, owner: str, *, now: datetime, until: datetime, wait_until: datetime | None = None
    ) -> Awaitable[Lease | None]:
        """Take a free (or ended) name, or prolong one's own; None when another holds it, or stands in line before.

        With *wait_until* who gets None stands in line, in the place that he has already or at the end, and keeps it if
        he asks again before then. Whoever is given the name stands in line no more.
        """
        ...

    def renew(self, lease: Lease, *, now: datetime, until: datetime) -> Awaitable[Lease]:
        """Prolong. Raises LeaseLostError when it ended or went to another."""
        ...

    def release(self, lease: Lease, *, now: datetime) -> Awaitable[bool]:
        """Give it up; False when it was no longer held."""
        ...

    def withdraw(self, name: str, owner: str, *, now: datetime) -> Awaitable[bool]:
        """Stand in line no more, and give the name up if *owner* holds it; False when he did not."""
        ...

    def forget(self, before: datetime, *, limit: int = 1000) -> Awaitable[int]:
        """Remove up to *limit* names whose last lease ended before *before*; return how many. No token ever falls."""
        ...

    # readers
    def standing(self, name: str, owner: str, *, now: datetime) -> Standing:
        """Return where *owner* stands for a name."""
        ...

    def nodes(self) -> list[Node]:
        """Return the nodes that are known."""
        ...
