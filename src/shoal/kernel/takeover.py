"""Who is dead, and taking over from them."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from shoal.errors import DeadAgentError, RequestFailedError
from shoal.kernel.event import EventType, Fact
from shoal.kernel.ports import Child, Node, Rescue
from shoal.kernel.redelivery import MAX_DELIVERIES

if TYPE_CHECKING:
    from shoal.kernel.env import Env
    from shoal.kernel.post import Post
    from shoal.kernel.scheduler import Scheduler

__all__ = ["Takeover", "has_ended", "process_start", "this_boot"]


class Takeover:
    """Takes over from nodes that are dead: those of this machine whose process is gone, and those whose lease ended.

    A lease ends when this node has seen no renewal for its length, by its own monotonic clock (Gray and Cheriton 1989,
    without their synchronous clocks): wall clocks differ, and can jump (a time server, a machine that was suspended).
    Nobody can renew his while the store is held up. What was renewed in time then looks over. So a lease proves nothing
    in the first lease interval, by the monotonic clock, after this node saw its wall clock jump or could not renew its
    own lease: whoever lives renews his within that interval. Of a process of this machine that is there, it proves
    nothing in the first lease interval of this node, either: the jump may have come before this node did.
    """

    def __init__(
        self, env: Env, scheduler: Scheduler, post: Post, kill_orphan: Callable[[int, int], bool] | None
    ) -> None:
        self._env = env
        self._scheduler = scheduler
        self._post = post
        self._kill_orphan = kill_orphan
        self._ahead: float | None = None  # the wall clock's lead over the monotonic one at the last look
        self._judge_from = 0.0  # by the monotonic clock
        self._judge_here_from = 0.0
        self.nodes: Sequence[Node] = ()  # as they were at the last look
        self._renewed: dict[str, tuple[datetime, float]] = {}  # by node: its lease's end, and when it should renew it

    async def look(self) -> None:
        """Look who is dead, and take over what they held."""
        env = self._env
        now = env.clock.now()
        await self._read()
        others = [node for node in self.nodes if node.node_id != env.node_id and not node.lost]
        env.neighbours = len(others)
        here = this_boot() if others else ""  # a node by itself reads no files four times a second
        dead = [node.node_id for node in others if node.host == here and has_ended(node.pid, node.pid_started)]
        overdue = self._overdue(others)
        spared = self._spared([node for node in others if node.node_id not in dead], here, overdue)
        late = env.settings.lease_seconds  # beyond that, of those whose clock is ahead
        # By the end of their leases, since this is carried out late when another node holds the store up.
        silent = {
            node.node_id: node.lease_until
            for node in others
            if overdue[node.node_id] > late and node.node_id not in spared
        }
        over = any(node.lease_until <= now and node.node_id not in spared for node in others)
        if env.lease_over() or not (dead or silent or over):
            return  # nobody is dead; or this node was frozen itself, and must not judge before its heartbeat has
        rescue = await env.store.leases.rescue(
            dead,
            now=now,
            max_interruptions=env.settings.max_interruptions if env.settings.auto_recover else 0,
            max_deliveries=MAX_DELIVERIES,
            spared=spared,
            silent=silent,
        )
        await self._kill_orphans(rescue.children, {node.node_id for node in others if node.host == here})
        await self._read()
        self._tell(rescue)

    def _tell(self, rescue: Rescue) -> None:
        """Tell those who wait for what is lost, and those who can go on with what is left."""
        env = self._env
        for ended in rescue.ended:
            self._scheduler.task_ended(ended.task_id, ended.status)
        for letter in rescue.letters:
            why = letter.error or ""
            failed = RequestFailedError(f"Agent {letter.recipient_id} failed: {why}", error_type="", error_message=why)
            self._post.asking.unanswered(letter.message, failed)
        for agent_id in rescue.agents:
            error = DeadAgentError(f"Agent {agent_id} was lost with its node", reason="node_lost")
            self._post.asking.gone(agent_id, error)
            env.bus.ring("gone", f"{agent_id} {error.reason}", here=False)
            env.bus.ring("agents", agent_id)
        if rescue.requeued:
            self._scheduler.kick()
            env.bus.ring("tasks", here=False)

    async def outlast(self, name: str) -> None:
        """Wait for the end of a node that bears *name* and may have died where nobody sees it: until its lease is over,
        or it is renewed, since then it lives.

        So a container, or a machine, that was killed comes back at once under its own name. The process that it was is
        behind another pid namespace, or another boot; its lease alone tells that it is dead.
        """
        env = self._env
        until = None
        last = env.clock.monotonic() + 1.25 * env.settings.lease_seconds
        while env.clock.monotonic() < last and (node := self._unseen(name)) is not None:
            if node.lease_until != (until or node.lease_until):
                return
            until = node.lease_until
            await env.clock.sleep(env.settings.lease_seconds / 16)
            await self.look()

    def _unseen(self, name: str) -> Node | None:
        """Return the node of that name, if it is not lost and was on a machine that is called as this one, in another
        life or container of it."""
        here = this_boot()
        for node in self.nodes:
            if node.name == name and not node.lost and node.host != here and node.host.split()[:1] == here.split()[:1]:
                return node
        return None

    async def _read(self) -> None:
        """Read what is known of the nodes; from those that are lost nobody is to wait for an answer."""
        store = self._env.store
        self.nodes = await store.aside(store.leases.nodes)
        for node in self.nodes:
            if node.lost:
                self._env.bus.give_up(node.node_id)

    def _overdue(self, others: Sequence[Node]) -> dict[str, float]:
        """Return for how many seconds each should have renewed its lease; negative for those that have time to."""
        clock, lease, known = self._env.clock, self._env.settings.lease_seconds, self._renewed
        now, steady = clock.now(), clock.monotonic()
        self._renewed = {}
        for node in others:
            until, due = known.get(node.node_id, (None, 0.0))
            if until != node.lease_until:
                left = (node.lease_until - now).total_seconds()
                due = steady + (min(left, lease) if left > 0 else lease)
            self._renewed[node.node_id] = node.lease_until, due
        return {node_id: steady - due for node_id, (_, due) in self._renewed.items()}

    def _spared(self, others: Sequence[Node], here: str, overdue: Mapping[str, float]) -> list[str]:
        """Return those whose lease proves nothing now."""
        env = self._env
        lease = env.settings.lease_seconds
        steady = env.clock.monotonic()
        ahead = env.clock.now().timestamp() - steady
        if self._ahead is None:
            self._judge_here_from = steady + lease
        elif abs(ahead - self._ahead) > lease / 4 or env.lease_over():
            self._judge_from = self._judge_here_from = steady + lease
        self._ahead = ahead
        return [
            node.node_id
            for node in others
            if overdue[node.node_id] < 0 or steady < (self._judge_here_from if node.host == here else self._judge_from)
        ]

    async def _kill_orphans(self, children: Sequence[Child], reachable: set[str]) -> None:
        facts = [
            Fact(
                event_type=EventType.ORPHAN_KILLED,
                node_id=child.node_id,
                agent_id=child.agent_id,
                details={"pid": child.pid},
            )
            for child in children
            if child.node_id in reachable
            and self._kill_orphan is not None
            and self._kill_orphan(child.pid, child.pid_started)
        ]
        if facts:
            await self._env.store.events.append(facts, now=self._env.clock.now())


def this_boot() -> str:
    """Return what tells this machine, in this life of its, from all others, and this container from those that share its
    name: pids mean nothing elsewhere."""
    words = [socket.gethostname()]
    with contextlib.suppress(OSError):  # not Linux
        words.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8])
        words.append(os.readlink("/proc/self/ns/pid").strip("pid:[]"))
    return " ".join(words)


def has_ended(pid: int, started: int) -> bool:
    """Tell whether the process of this machine that began at *started* has ended.

    False when that cannot be seen: /proc may hide the processes of other users (``hidepid``, ``ProtectProc=`` of systemd),
    and whoever cannot be seen is not dead for that.
    """
    found = process_start(pid)
    if found is not None:
        return found != started
    try:
        os.kill(pid, 0)
    except PermissionError:
        return False
    except ProcessLookupError:
        return True
    return True  # its zombie


def process_start(pid: int) -> int | None:
    """Return when the process began, in clock ticks since boot, or None when there is none (or only its zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])
