"""The four abstractions: Store, Bus, Host and Clock. Their docstrings are the contract that every backend keeps.

**Order.** A verb of the store that writes is a plain function that returns an awaitable: it takes its place in the order
of writes when it is *called*, not when it is awaited. So ``enqueue`` followed by ``claim`` land in one group commit.
One verb is one transaction, and its events are in it. Verbs check everything before they write anything. What was
awaited without an error is on disk. Readers are plain functions, work from any thread and see what is committed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from shoal.kernel.agent import AgentInstance, AgentStatus, AgentVerb
from shoal.kernel.event import Event, EventFilter, Fact
from shoal.kernel.limits import ResourceLimit
from shoal.kernel.message import AgentMessage, DeadLetter
from shoal.kernel.room import AGENT_WORD, Room
from shoal.kernel.task import QueuePosition, Task, TaskStatus

# -- clock --------------------------------------------------------------------------------------------------------


class Timer(Protocol):
    """A call that will happen, and can be called off."""

    def cancel(self) -> None:
        """Call it off."""
        ...


class Clock(Protocol):
    """Time, chance and ids. ``shoal.kernel.clock.RealClock`` is the real one, ``shoal.testing`` has the virtual one."""

    random: random.Random
    virtual: bool  # time passes only when nothing is left to do: then nothing may run in threads of its own

    def now(self) -> datetime:
        """Return the present as aware UTC."""
        ...

    def micros(self) -> int:
        """Return the present as whole microseconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that is never set back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Sleep for *seconds*."""
        ...

    async def sleep_until(self, deadline: float) -> None:
        """Sleep until ``monotonic()`` reaches *deadline*."""
        ...

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        """Return a context that raises TimeoutError after *seconds* (None: never)."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call *callback* on the running loop after *seconds*."""
        ...

    def every(self, seconds: float, callback: Callable[[], object], *, name: str) -> Callable[[], None]:
        """Call *callback* every *seconds*, also while the event loop is blocked; returns a function that ends it."""
        ...

    def new_id(self) -> str:
        """Return a new UUID; ids made later sort later."""
        ...


# -- store: tasks -------------------------------------------------------------------------------------------------


def target_of(task: Task) -> str:
    """Return the one word by which *task* is matched to slots: ``""`` (any), ``agent:ID``, ``capability:WORD``,
    ``group:NAME``."""
    if task.agent is not None:
        return AGENT_WORD + task.agent
    if task.capability is not None:
        return f"capability:{task.capability}"
    if task.group is not None:
        return f"group:{task.group}"
    return ""


class Claim(msgspec.Struct, frozen=True):
    """A task given to an agent. ``task.attempt`` is the fencing token of everything this attempt writes."""

    task: Task
    agent_id: str


class Fence(msgspec.Struct, frozen=True):
    """Proof of being the present attempt: a write with an old one raises LeaseLostError and changes nothing."""

    task_id: str
    node_id: str
    attempt: int


class Outcome(StrEnum):
    """How an attempt ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    RETRY = "retry"
    INTERRUPTED = "interrupted"


class Return(msgspec.Struct, frozen=True, kw_only=True):
    """A durable message that was taken and not handled: due again at ``retry_at``, or a dead letter with ``error`` after
    ``max_deliveries`` (None: never)."""

    message_id: str
    error: str
    retry_at: datetime
    max_deliveries: int | None


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """The end of one attempt. Of interruptions ``died`` counts a death of the agent, ``lost`` a loss; else none counts.

    ``not_before`` is when a retry may start. ``acks`` are durable messages that the attempt took and is now done with:
    acknowledged when it completed; ``returns`` are those that it took when it did not complete. ``facts`` are further
    events of the same transaction (``task_timeout`` …).
    """

    fence: Fence
    agent_id: str
    outcome: Outcome
    output: object = None
    error_type: str | None = None
    error_message: str | None = None
    error_details: dict[str, object] = {}
    not_before: datetime | None = None
    died: bool = False
    lost: bool = False
    acks: tuple[str, ...] = ()
    returns: tuple[Return, ...] = ()
    facts: tuple[Fact, ...] = ()


class Ended(msgspec.Struct, frozen=True):
    """A task that reached a final status, and by which attempt on which node it ran, if it did."""

    task_id: str
    status: TaskStatus
    agent_id: str | None = None
    node_id: str | None = None


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What a settlement did. ``applied`` is False for an old fence: then nothing changed.

    ``ended`` has the task itself when it is final, and every dependent that failed with it; ``promoted`` tells that
    tasks became ready.
    """

    applied: bool
    ended: tuple[Ended, ...] = ()
    promoted: bool = False


class Cancelled(msgspec.Struct, frozen=True, kw_only=True):
    """What a cancel did. ``applied`` is False when the task had already ended.

    ``stopped`` are the cancelled tasks (with their children) that were running, where; ``ended`` all that ended.
    """

    applied: bool
    stopped: tuple[Ended, ...] = ()
    ended: tuple[Ended, ...] = ()
    promoted: bool = False


class TaskStore(Protocol):
    """The queue and its history."""

    def enqueue(self, tasks: Sequence[Task], *, now: datetime, max_pending: int | None) -> Awaitable[list[str]]:
        """Store new tasks, all or none, with their ``task_enqueued``; return their ids in order.

        A task whose ``idempotency_key`` is known yields the known task's id and stores nothing. Dependencies may be ids
        of this batch or stored tasks; one that has already completed does not block, one that has already failed or was
        cancelled makes the new task failed at once (DependencyFailedError, ``task_failed``), unless
        ``on_dependency_failure`` is ``run``. A child's ``root_id`` is set by the caller.

        Raises:
            TaskNotFoundError: unknown dependency or parent.
            CyclicDependencyError: a circle inside the batch (also a task that waits for itself).
            QueueFullError: fewer than ``len(tasks)`` places are left of *max_pending* pending tasks (``queue_full``
                event is written in its own transaction).
            IdempotencyConflictError: known key, other name or input.
        """
        ...

    def claim(
        self,
        node_id: str,
        room: Room,
        *,
        now: datetime,
        starved_before: datetime | None = None,
        waited: Sequence[Fence] = (),
    ) -> Awaitable[list[Claim]]:
        """Give ready tasks to free lanes and mark them running, attempt + 1, with ``task_assigned`` and ``task_started``.

        First by priority, then by submission; to ``Room.takers`` in their order, and to lent lanes when these are full.
        *room* stays as it is until this has ended; looking at each of its slots would make claims slow beside many
        idle agents.
        With *starved_before* the first task given is the oldest ready one, if it became ready before that time.
        *waited* are attempts whose retry has waited long enough by the caller's monotonic clock, whatever *now* says.
        Nothing is given while the queue is paused, or to a node whose lease is lost (LeaseLostError).
        """
        ...

    def settle(self, settlement: Settlement, *, now: datetime) -> Awaitable[Settled]:
        """End one attempt: the task's new status, its event, its acknowledged mail, promoted or failed dependents.

        ``task_completed``, ``task_failed``, ``task_retrying`` or ``task_interrupted`` is written, and ``facts``. A
        retry keeps its place in the order and adds one to ``retry_count``. An interruption keeps place and
        retries; when it counts it adds one to ``deaths`` or ``interruptions`` (both 0 again after a new step
        or checkpoint). The cause and the root cause are named in each dependent that fails, at any depth, in
        set-based statements.
        """
        ...

    def cancel(self, task_id: str, reason: str | None, *, now: datetime) -> Awaitable[Cancelled]:
        """End a pending or running task as cancelled (``task_cancelled``), its unfinished children with it (all depths).

        Dependents fail or run as in ``settle``. Raises TaskNotFoundError.
        """
        ...

    def progress(self, fence: Fence, fraction: float, note: str, *, now: datetime) -> Awaitable[None]:
        """Keep the progress of a running task, with ``task_progress``. Raises LeaseLostError."""
        ...

    def checkpoint(self, fence: Fence, state: dict[str, object], *, now: datetime) -> Awaitable[None]:
        """Keep the state that the next attempt will find, with ``task_checkpointed``. Raises LeaseLostError."""
        ...

    def pause_queue(self, paused: bool, *, now: datetime) -> Awaitable[bool]:
        """Pause or resume claims on every node, with its event; True when that changed something."""
        ...

    def unroutable(self, known_targets: Sequence[str], *, now: datetime) -> Awaitable[int]:
        """Write ``task_unroutable`` once for each ready task with a capability or group not in *known_targets*."""
        ...

    # readers
    def get(self, task_id: str) -> Task:
        """Return the task. Raises TaskNotFoundError."""
        ...

    def find(self, task_ids: Sequence[str]) -> dict[str, Task]:
        """Return those of *task_ids* that exist, by id."""
        ...

    def search(
        self,
        *,
        status: TaskStatus | None = None,
        limit: int = 100,
        name: str | None = None,
        agent_id: str | None = None,
    ) -> list[Task]:
        """Return tasks, newest first."""
        ...

    def counts(self) -> dict[str, int]:
        """Return pending, running, completed, failed, cancelled, ready and blocked, in time independent of
        their number."""
        ...

    def claimable(self, *, now: datetime) -> bool:
        """Tell, in constant time, whether some task is ready now, for whomever."""
        ...

    def queue_paused(self) -> bool:
        """Tell whether claims are paused."""
        ...

    def position(self, task_id: str, *, now: datetime, targets: Sequence[str] | None = None) -> QueuePosition:
        """Return where a pending task stands, exactly; ``eta_seconds`` is left None. ValueError when it is not pending.

        ``reason`` is ready, dependencies, not_before, retry_wait or queue_paused; the caller knows the other two.
        ``ahead`` counts ready tasks that come before it: those with a target word of *targets*, or all.
        """
        ...

    def durations(self, target: str, limit: int = 100) -> Sequence[float]:
        """Return the durations in seconds of the last *limit* completed tasks with that target word."""
        ...


# -- store: agents ------------------------------------------------------------------------------------------------


class AgentChange(msgspec.Struct, frozen=True, kw_only=True):
    """One step of an agent's state machine (``AGENT_TRANSITIONS``).

    ``details`` go into the event of the verb. PAUSE takes ``state`` (what on_pause returned; None keeps what was saved
    before), ``mail``, the messages that wait in its mailbox, in order, before those in the store, and ``held``, plain
    messages whose handlers are held: kept as handed out to the node until ``Mail.ack``. START with ``limit`` becomes
    QUEUE when as many agents of the node are live.
    """

    agent_id: str
    verb: AgentVerb
    node_id: str
    error_message: str | None = None
    queued_reason: str | None = None
    process_id: int | None = None
    restart_count: int | None = None
    limit: int | None = None
    state: dict[str, object] | None = None
    mail: tuple[AgentMessage, ...] = ()
    held: tuple[AgentMessage, ...] = ()
    details: dict[str, object] = {}
    facts: tuple[Fact, ...] = ()


class AgentStore(Protocol):
    """Who is known, where each stands, and groups."""

    def register(self, agent: AgentInstance, *, now: datetime) -> Awaitable[AgentInstance]:
        """Store an agent (``agent_registered``) and return it as stored; creates its groups.

        A known name whose node has left or was given up, or that is stopped, failed or queued on ``agent.node_id`` and
        was unregistered from there, is taken up again with its old id, saved state, and status stopped (paused if it was
        paused). Raises AgentNameTakenError when a node holds the name; one whose lease has ended does until it is given
        up (``leases.rescue``), since it may live and go on.
        """
        ...

    def unregister(self, agent_id: str, *, now: datetime) -> Awaitable[Cancelled]:
        """Remove a stopped or failed agent (``agent_unregistered``), its groups' entries and its mail (dead letters).

        Pending tasks that target it are cancelled; what ended with them is returned. Raises AgentNotFoundError,
        AgentStateError.
        """
        ...

    def advance(self, change: AgentChange, *, now: datetime) -> Awaitable[AgentInstance]:
        """Apply one change and its event (``AGENT_EVENTS``); return the agent after it.

        STOP from running forgets the saved state, STOP from paused keeps it. NODE_LOST is applied by ``leases.rescue``.
        Raises AgentNotFoundError; AgentStateError for a verb that the status refuses ("cannot pause a stopped agent");
        LeaseLostError when the agent is held by another live node.
        """
        ...

    def checkpoint(self, agent_id: str, node_id: str, state: dict[str, object], *, now: datetime) -> Awaitable[None]:
        """Keep an agent's state outside a task (``agent_checkpointed``)."""
        ...

    def create_group(self, name: str, members: Sequence[str], *, now: datetime) -> Awaitable[None]:
        """Create a group of agent ids (``group_changed``). Raises ValueError when it exists, AgentNotFoundError."""
        ...

    def delete_group(self, name: str, *, now: datetime) -> Awaitable[None]:
        """Delete a group (``group_changed``). Raises GroupError when there is none."""
        ...

    def change_group(self, name: str, agent_id: str, *, member: bool, now: datetime) -> Awaitable[None]:
        """Put an agent in or out of a group (``group_changed`` if that changed something).

        Raises GroupError, AgentNotFoundError.
        """
        ...

    # readers
    def get(self, address: str) -> AgentInstance:
        """Return the agent with this id or name. Raises AgentNotFoundError with the nearest name."""
        ...

    def search(
        self, *, status: AgentStatus | None = None, capability: str | None = None, group: str | None = None
    ) -> list[AgentInstance]:
        """Return agents in order of registration; capabilities are compared without case."""
        ...

    def saved_state(self, agent_id: str) -> dict[str, object] | None:
        """Return the state for ``on_resume``, or None."""
        ...

    def groups(self) -> dict[str, list[str]]:
        """Return the ids of each group's members, by group."""
        ...


# -- store: mail, journal, events, kv, leases ---------------------------------------------------------------------


class Mail(Protocol):
    """Messages that must not be lost: durable ones, those of paused agents, and dead letters."""

    def put(
        self, recipient_ids: Sequence[str], message: AgentMessage, *, now: datetime, node_id: str | None = None
    ) -> Awaitable[None]:
        """Store *message* for each recipient (``message_sent`` when durable).

        A known (id, recipient) is not stored again. Raises LeaseLostError when *node_id*, the sender's, was lost.
        """
        ...

    def take(self, recipient_id: str, node_id: str, *, now: datetime, limit: int) -> Awaitable[list[AgentMessage]]:
        """Hand out up to *limit* messages in order, oldest first, and count the delivery.

        A durable one stays until ``ack`` and is handed out once per holder: again after ``nack``, or when its node is
        lost. Another is removed. Expired ones become dead letters. Raises LeaseLostError when *node_id* was lost.
        """
        ...

    def ack(self, recipient_id: str, message_ids: Sequence[str], *, now: datetime) -> Awaitable[None]:
        """Remove messages that were handled (``message_received`` for durable ones)."""
        ...

    def nack(
        self, recipient_id: str, message_id: str, error: str, *, now: datetime, retry_at: datetime, max_deliveries: int
    ) -> Awaitable[bool]:
        """Make it due again at *retry_at*, or a dead letter at the nack number *max_deliveries*: then True."""
        ...

    def release(self, recipient_id: str, node_id: str, *, now: datetime) -> Awaitable[int]:
        """Give back what *node_id* took for this recipient and did not acknowledge; returns how many."""
        ...

    def bury(self, letters: Sequence[DeadLetter], *, now: datetime, facts: Sequence[Fact] = ()) -> Awaitable[None]:
        """Keep dead letters, each with ``message_dead_lettered`` beside *facts*."""
        ...

    def redeliver(self, message_id: str, *, now: datetime) -> Awaitable[list[str]]:
        """Turn dead letters of this message into mail again, durable, with a fresh count; return the recipients.

        Those of agents that are known no more stay. Raises LookupError when there is none, or only such.
        """
        ...

    def expire(self, *, now: datetime) -> Awaitable[int]:
        """Turn stored mail whose time is over into dead letters; returns how many."""
        ...

    # readers
    def waiting(self, recipient_id: str) -> int:
        """Return how many messages are stored for this recipient and not handed out."""
        ...

    def due(self, node_agents: Sequence[str], *, now: datetime) -> Sequence[str]:
        """Return those of *node_agents* for whom mail can be taken now."""
        ...

    def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """Return dead letters, newest first."""
        ...


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded effect: done once, replayed afterwards."""

    key: str
    value: object
    digest: str | None = None
    at: datetime


class Journal(Protocol):
    """Recorded steps, by scope: ``task:ID`` or ``run:ID``."""

    def record(
        self,
        scope: str,
        key: str,
        value: object,
        *,
        now: datetime,
        digest: str | None = None,
        fence: Fence | None = None,
    ) -> Awaitable[None]:
        """Keep a step's result. With a fence, raises LeaseLostError for an old one; sets the task's deaths to 0.

        A key that is recorded already keeps its first value.
        """
        ...

    # readers
    def load(self, scope: str) -> dict[str, Step]:
        """Return all steps of the scope, in order of recording."""
        ...

    def get(self, scope: str, key: str) -> Step | None:
        """Return one step, or None."""
        ...


class Events(Protocol):
    """The append-only log."""

    def append(self, facts: Sequence[Fact], *, now: datetime) -> Awaitable[None]:
        """Write events that belong to no other verb."""
        ...

    # readers
    def query(self, filters: EventFilter, limit: int) -> Sequence[Event]:
        """Return up to *limit* matching events, newest first unless ``filters.oldest_first``."""
        ...

    def scan(self, filters: EventFilter) -> Iterator[Event]:
        """Yield all matching events, oldest first, in bounded memory."""
        ...

    def last_id(self) -> int:
        """Return the id of the newest event, 0 when there is none."""
        ...


class SharedValue(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the shared store. Versions count from 1; ``deleted`` only in what ``watch`` yields."""

    key: str
    value: Any
    version: int
    updated_at: datetime
    updated_by: str | None = None
    deleted: bool = False


class KV(Protocol):
    """Small shared values with versions."""

    def set(
        self,
        key: str,
        value: object,
        *,
        now: datetime,
        by: str | None = None,
        expires_at: datetime | None = None,
        expected: int | None = None,
        node_id: str | None = None,
    ) -> Awaitable[int]:
        """Store a value and return its version. With *expected* raises VersionConflictError unless that is the version.

        *expected* 0 means that the key must not exist. A deleted or expired key starts again at 1. Raises LeaseLostError
        when *node_id*, the writer's, was lost.
        """
        ...

    def delete(
        self, key: str, *, now: datetime, expected: int | None = None, node_id: str | None = None
    ) -> Awaitable[bool]:
        """Remove a key; False when there was none. Raises VersionConflictError and LeaseLostError as ``set``."""
        ...

    # readers
    def get(self, key: str, *, now: datetime) -> SharedValue | None:
        """Return the entry, or None when it is not there or expired."""
        ...

    def keys(self, prefix: str, *, now: datetime) -> Sequence[str]:
        """Return the keys that begin with *prefix*, sorted."""
        ...

    def changes(self, prefix: str, after: int) -> tuple[list[SharedValue], int]:
        """Return the newest of each key changed (or deleted) since change number *after*, and the newest number."""
        ...


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One running runtime. ``pid`` and ``pid_started`` (clock ticks since boot) identify its process on ``host``."""

    node_id: str
    runtime_id: str
    name: str
    host: str
    pid: int
    pid_started: int
    started_at: datetime
    lease_until: datetime
    lost: bool = False


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A process that a node started, so that whoever finds the node dead can end it."""

    node_id: str
    pid: int
    pid_started: int
    agent_id: str | None = None


class Rescue(msgspec.Struct, frozen=True, kw_only=True):
    """What a rescue did: nodes found dead, tasks put back, tasks failed for too many losses, agents that failed."""

    nodes: tuple[str, ...] = ()
    requeued: tuple[str, ...] = ()
    ended: tuple[Ended, ...] = ()
    agents: tuple[str, ...] = ()
    children: tuple[Child, ...] = ()


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A claim on a name that ends by itself. ``token`` rises with every new holder."""

    name: str
    owner: str
    token: int
    until: datetime


class Leases(Protocol):
    """Who is alive, and who holds which name."""

    def join(self, node: Node, *, now: datetime) -> Awaitable[None]:
        """Make a node known. Raises ConfigError when a live node has that name."""
        ...

    def heartbeat(self, node_id: str, *, until: datetime) -> bool:
        """Let a node's lease end at *until*; False when it was already lost.

        The one write that blocks; from any thread but the loop's.
        """
        ...

    def leave(self, node_id: str, *, now: datetime) -> Awaitable[None]:
        """Forget a node that ended in order.

        What it still holds goes back, for the store may have refused to hear of it: its running tasks are pending again
        (``task_interrupted``, no interruption counted), its agents stopped (``agent_stopped``; paused and failed ones stay
        so).
        """
        ...

    def rescue(
        self, dead: Sequence[str], *, now: datetime, max_interruptions: int, spared: Sequence[str] = ()
    ) -> Awaitable[Rescue]:
        """Take over what nodes of *dead* held, and nodes whose lease has ended at *now*, but for those of *spared*.

        Running tasks go back to pending in their place (``task_interrupted``), or fail with TaskInterruptedError when
        they were lost *max_interruptions* times in a row. Their agents become failed, paused ones stay paused. Taken
        mail is given back. One ``node_lost`` each. The nodes' fences are void from here on.
        """
        ...

    def adopt(self, child: Child) -> Awaitable[None]:
        """Remember a child process."""
        ...

    def disown(self, node_id: str, pid: int) -> Awaitable[None]:
        """Forget a child process that was reaped."""
        ...

    def acquire(self, name: str, owner: str, *, now: datetime, until: datetime) -> Awaitable[Lease | None]:
        """Take a free (or ended) name, or prolong one's own; None when another holds it."""
        ...

    def renew(self, lease: Lease, *, now: datetime, until: datetime) -> Awaitable[Lease]:
        """Prolong. Raises LeaseLostError when it ended or went to another."""
        ...

    def release(self, lease: Lease, *, now: datetime) -> Awaitable[bool]:
        """Give it up; False when it was no longer held."""
        ...

    # readers
    def nodes(self) -> list[Node]:
        """Return the nodes that are known."""
        ...


class Store(Protocol):
    """Everything durable, by noun."""

    url: str
    tasks: TaskStore
    agents: AgentStore
    mail: Mail
    journal: Journal
    events: Events
    kv: KV
    leases: Leases

    async def open(self) -> None:
        """Open, create or migrate. Raises StoreError with what is wrong; a foreign or newer file is left untouched."""
        ...

    async def close(self) -> None:
        """Write what was accepted, then close. Nothing is accepted afterwards."""
        ...

    def on_commit(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call *callback* on the loop after commits of this process that wrote events or shared values;
        returns an undo."""
        ...

    def changed(self) -> bool:
        """Tell whether another process has committed since the last call."""
        ...

    def info(self) -> dict[str, object]:
        """Return facts for people: url, schema version, size in bytes, rows by table, durability."""
        ...

    def prune(self, before: datetime, *, limit: int = 1000) -> Awaitable[dict[str, int]]:
        """Remove up to *limit* each of finished tasks (no unfinished task depends on), events and dead
        letters older than *before*, and of nodes found dead before then."""
        ...


# -- bus ----------------------------------------------------------------------------------------------------------


class Receiver(Protocol):
    """What stands behind an address."""

    def offer(self, message: AgentMessage) -> Awaitable[None] | None:
        """Take a message. Raises MailboxFullError; an awaitable when it must reach the disk first (paused)."""
        ...

    def ask(self, message: AgentMessage) -> asyncio.Future[AgentMessage]:
        """Take a message that expects a reply; the future ends with it, or with the error that says why there is none.

        The bus ends the future itself when the wait ends first (time-out, detach, stop, asker cancelled): whoever
        answers looks at ``done()`` before.
        """
        ...


class Bus(Protocol):
    """Live messages and bells; at most once. Whoever asked gets an answer: the reply, the error, or why there is none.

    An address is an agent's id. The bus knows which addresses its own and other nodes have attached. A bell that is
    lost costs its hearers one poll interval and nothing else.
    """

    async def start(self, node_id: str) -> None:
        """Connect, and begin to hear other nodes."""
        ...

    async def stop(self) -> None:
        """Leave. Requests still open end with DeadAgentError."""
        ...

    def attach(self, address: str, receiver: Receiver) -> None:
        """Stand behind an address."""
        ...

    def detach(self, address: str, error: BaseException | None = None) -> None:
        """Leave an address: its subscriptions end, and those who wait for its answer get *error*."""
        ...

    def has(self, address: str) -> bool:
        """Tell whether some node has attached the address."""
        ...

    def local(self, address: str) -> Receiver | None:
        """Return the receiver when this node has it."""
        ...

    async def send(self, address: str, message: AgentMessage) -> None:
        """Bring a message to a mailbox. Raises DeadAgentError (not_running), MailboxFullError."""
        ...

    async def request(self, address: str, message: AgentMessage, timeout: float | None) -> AgentMessage:
        """Bring a message and wait for its answer.

        Raises DeadAgentError at once when nobody is there, and within 1 s of a death; ResponseTimeoutError;
        NoHandlerError, RequestFailedError, DeadlockError and what else the other side raised.
        """
        ...

    async def publish(self, topic: str, message: AgentMessage) -> int:
        """Bring a message to all subscribers of the moment but its sender; return how many mailboxes took it."""
        ...

    def subscribe(self, address: str, pattern: str) -> None:
        """Add a subscription of an attached address (words by dots, ``*``, last ``>``)."""
        ...

    def unsubscribe(self, address: str, pattern: str) -> None:
        """End a subscription; ending one that is not there does nothing."""
        ...

    def ring(self, bell: str, note: str = "") -> None:
        """Wake the hearers of *bell* on every node, this one included. Never blocks, never raises."""
        ...

    def hear(self, bell: str, callback: Callable[[str], object]) -> Callable[[], None]:
        """Call *callback* with the note whenever the bell rings; returns an undo."""
        ...


# -- host ---------------------------------------------------------------------------------------------------------


class LaunchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a host needs to bring an agent to life."""

    agent_id: str
    name: str
    source: Any
    config: dict[str, object]
    isolation: str
    node_id: str
    runtime_id: str
    limits: ResourceLimit = ResourceLimit()
    max_concurrent_tasks: int = 1
    hook_timeout_seconds: float = 30.0
    box: Any = None


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How a host's handle ended. ``reason``: stopped, died, limit (then ``error`` says which)."""

    reason: str
    exit_code: int | None = None
    stderr_tail: str = ""
    error: Any = None


class Abilities(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent's code can do, known once it is ready."""

    takes_tasks: bool
    takes_messages: bool
    hooks: frozenset[str] = frozenset()


class Invocation(msgspec.Struct, frozen=True, kw_only=True):
    """One entry into the agent's code: ``execute_task`` (a Task), ``on_message`` (an AgentMessage) or another hook.

    ``chain`` lists the invocations that wait for this one, outermost first.
    """

    invocation_id: str
    hook: str
    argument: Any = None
    task: Task | None = None
    chain: tuple[str, ...] = ()


class Link(Protocol):
    """The way from an agent's code back to its runtime; the same verbs in every isolation."""

    def call(self, verb: str, invocation_id: str | None, args: Mapping[str, Any]) -> Awaitable[Any]:
        """Carry out a verb of ``AgentContext`` for an invocation (None: outside any)."""
        ...

    def is_stopping(self) -> bool:
        """Tell whether the agent's cell, its runtime or the present task is to end. From any thread."""
        ...

    def metric(self, kind: str, name: str, value: float) -> None:
        """Note a number of the agent's own: *kind* is count or observe. From any thread, never raises."""
        ...


class RuntimeLink(Link, Protocol):
    """The end of a Link at the runtime, on its loop."""

    def give_back(self, invocation_id: str | None, taken: AgentMessage | list[AgentMessage]) -> None:
        """Take back what a verb had taken for an agent that gave the call up before it had the result.

        It is the agent's first mail again, in its order; it does not count as taken by its task. Never raises.
        """
        ...


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a process takes: resident memory in MB, CPU time in seconds."""

    memory_mb: float
    cpu_seconds: float


class Handle(Protocol):
    """A living agent. In-loop, thread, process and box look the same."""

    process_id: int | None
    exited: asyncio.Future[Exit]

    async def ready(self) -> Abilities:
        """Wait until the agent is constructed. Raises AgentStartError (constructor), ProcessError (did not come up)."""
        ...

    async def invoke(self, invocation: Invocation) -> Any:
        """Run a hook and return its value; what it raised is raised here.

        Cancelling the waiting coroutine cancels the hook, and returns when the hook has ended.
        """
        ...

    def interrupt(self, invocation_id: str) -> None:
        """Raise in the thread that runs a cancelled invocation which does not end; nothing where there is none."""
        ...

    async def hold(self, timeout: float) -> None:
        """Hold all running invocations at their next safe point. Raises AgentPauseError when none came in time."""
        ...

    async def freeze(self) -> None:
        """Stop the process between two instructions. Raises AgentPauseError where there is none of its own."""
        ...

    def release(self) -> None:
        """Let held or frozen invocations go on."""
        ...

    async def stop(self, grace: float) -> None:
        """End what is left of the agent: ask, wait *grace* seconds, kill, reap. Never raises."""
        ...

    def kill(self) -> None:
        """End it at once and abandon what runs in it; ``exited`` tells when it is gone."""
        ...

    def usage(self) -> Usage | None:
        """Return what its process takes, None where it has none of its own."""
        ...


class Host(Protocol):
    """Brings agents to life at one isolation level."""

    async def check(self, source: Any, box: Any = None) -> str:
        """Return the level at which an agent would really run: this host's own, or what ``auto`` comes to.

        *box* says more about its walls, None nothing. Raises ConfigError when *source* cannot travel there (the text names
        the object in it that cannot), BoxSpecError, IsolationUnavailableError.
        """
        ...

    async def start(self, spec: LaunchSpec, link: RuntimeLink) -> Handle:
        """Begin to start an agent. Raises ConfigError when its source cannot travel there."""
        ...

    async def close(self) -> None:
        """End what the host keeps besides its handles (spare processes)."""
        ...
