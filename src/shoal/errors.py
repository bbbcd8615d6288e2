"""Every error of Shoal, in one tree.

Each class also has a built-in base, so that code which knows nothing of Shoal can catch it. What the reader can do
about an error stands in its note (``add_note``), which a traceback prints below the text.

::

    ShoalError
    ├── ConfigError (ValueError)                    faults: every fault of a configuration, at once
    │   └── IsolationUnavailableError               what the probe of this machine found
    ├── MissingExtraError (RuntimeError, ImportError)   the extra to install
    ├── StoreError (RuntimeError)                   the store cannot be opened, or refused a write
    ├── RuntimeStateError (RuntimeError)            not possible in the runtime's present state
    │   ├── RuntimeNotStartedError                  call ``await runtime.start()`` first
    │   └── RuntimeStoppingError                    nothing new is taken
    ├── AgentError                                  agent_id, name
    │   ├── AgentNotFoundError (ValueError, LookupError)
    │   ├── AgentNameTakenError (ValueError)        alive on another node, or on this one
    │   ├── AgentLimitError (RuntimeError)          the agent is queued
    │   ├── AgentStateError (RuntimeError)          status, operation
    │   ├── AgentStartError (RuntimeError)          constructor or on_start raised
    │   ├── AgentPauseError (RuntimeError)          on_pause raised, or no safe point in time
    │   ├── ProcessError (RuntimeError)             exit_code, stderr_tail
    │   ├── DeadAgentError (ConnectionError)        reason, exit_code
    │   ├── ResourceLimitExceededError (RuntimeError)   resource_type, current, limit
    │   └── GroupError (RuntimeError)               failures, by agent
    ├── TaskError                                   task_id
    │   ├── TaskNotFoundError (ValueError, LookupError)
    │   ├── TaskTimeoutError (TimeoutError)         one attempt took longer than allowed
    │   ├── TaskFailedError (RuntimeError)          what the agent raised
    │   ├── TaskCancelledError (RuntimeError)
    │   ├── TaskInterruptedError (RuntimeError)     the attempt was cut short through no fault of its own
    │   ├── DependencyFailedError (RuntimeError)    dependency_id, dependency_status, root_id
    │   ├── CyclicDependencyError (ValueError)      cycle
    │   ├── IdempotencyConflictError (ValueError)   key
    │   └── WaitTimeoutError (TimeoutError)         pending
    ├── QueueFullError (RuntimeError)               queue_name, max_size
    │   └── MailboxFullError                        recipients
    ├── PayloadError (ValueError)                   path
    │   └── PayloadTooLargeError                    size, limit
    │       └── MessageTooLargeError
    ├── VersionConflictError (RuntimeError)         key, expected, actual
    ├── LeaseLostError (RuntimeError)               somebody else may be doing this work now
    ├── MessageError
    │   ├── ResponseTimeoutError (TimeoutError)
    │   ├── MessageExpiredError (TimeoutError)
    │   ├── NoHandlerError (RuntimeError)
    │   ├── RequestFailedError (RuntimeError)       error_type, error_message, traceback
    │   ├── DeadlockError (RuntimeError)            cycle, by name
    │   └── ChainTooDeepError (RuntimeError)
    └── BoxError (RuntimeError)
        ├── ProtocolError                           what came over the wire is not a frame
        └── BoxStartError                           level, phase, reason, exit_code
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "AgentError",
    "AgentLimitError",
    "AgentNameTakenError",
    "AgentNotFoundError",
    "AgentPauseError",
    "AgentStartError",
    "AgentStateError",
    "BoxError",
    "BoxStartError",
    "ChainTooDeepError",
    "ConfigError",
    "CyclicDependencyError",
    "DeadAgentError",
    "DeadlockError",
    "DependencyFailedError",
    "GroupError",
    "IdempotencyConflictError",
    "IsolationUnavailableError",
    "LeaseLostError",
    "MailboxFullError",
    "MessageError",
    "MessageExpiredError",
    "MessageTooLargeError",
    "MissingExtraError",
    "NoHandlerError",
    "PayloadError",
    "PayloadTooLargeError",
    "ProcessError",
    "ProtocolError",
    "QueueFullError",
    "RequestFailedError",
    "ResourceLimitExceededError",
    "ResponseTimeoutError",
    "RuntimeNotStartedError",
    "RuntimeStateError",
    "RuntimeStoppingError",
    "ShoalError",
    "StoreError",
    "TaskCancelledError",
    "TaskError",
    "TaskFailedError",
    "TaskInterruptedError",
    "TaskNotFoundError",
    "TaskTimeoutError",
    "VersionConflictError",
    "WaitTimeoutError",
    "nearest",
]


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known word most like *word*, or an empty text."""
    match = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


class ShoalError(Exception):
    """The root of all errors that Shoal raises on purpose."""

    def __init__(self, text: str = "", *, note: str | None = None) -> None:
        super().__init__(text)
        if note:
            self.add_note(note)

    def __reduce__(self) -> tuple[object, ...]:
        """Errors with keyword arguments copy and pickle by their state, not by their arguments."""
        return (_rebuild, (type(self), self.args, self.__dict__.copy()))


def _rebuild(cls: type[ShoalError], args: tuple[object, ...], state: dict[str, object]) -> ShoalError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


# -- setup --------------------------------------------------------------------------------------------------------


class ConfigError(ShoalError, ValueError):
    """A configuration is wrong. ``faults`` names every fault, each with its key and the allowed values."""

    def __init__(self, faults: str | Sequence[str], *, note: str | None = None) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("; ".join(self.faults), note=note)


class IsolationUnavailableError(ConfigError):
    """This machine cannot run the isolation level that was asked for; a weaker one is never taken instead."""


class MissingExtraError(ShoalError, RuntimeError, ImportError):
    """A feature needs an optional part. ``extra`` names it."""

    def __init__(self, extra: str, feature: str) -> None:
        self.extra = extra
        super().__init__(f"{feature} needs the extra {extra!r}", note=f"Install it with: pip install 'shoal[{extra}]'")


class StoreError(ShoalError, RuntimeError):
    """The store cannot be opened, or it refused a write. Nothing of that write was acknowledged."""

    def __init__(self, text: str, *, url: str = "", note: str | None = None) -> None:
        self.url = url
        super().__init__(text, note=note)


class RuntimeStateError(ShoalError, RuntimeError):
    """The runtime's present state does not allow this."""


class RuntimeNotStartedError(RuntimeStateError):
    """A verb was called before the runtime was started."""

    def __init__(self, text: str = "Runtime not started") -> None:
        super().__init__(
            text, note="Call `await runtime.start()` first, or use `async with AgentRuntime() as runtime`."
        )


class RuntimeStoppingError(RuntimeStateError):
    """A verb was called while the runtime stops."""

    def __init__(self, text: str = "Runtime is stopping") -> None:
        super().__init__(text, note="What was acknowledged is kept and goes on at the next start on the same store.")


# -- agents -------------------------------------------------------------------------------------------------------


class AgentError(ShoalError):
    """Something about one agent. ``agent_id`` and ``name`` say which, where they are known."""

    def __init__(self, text: str, *, agent_id: str | None = None, name: str | None = None, note: str | None = None):
        self.agent_id = agent_id
        self.name = name
        super().__init__(text, note=note)


class AgentNotFoundError(AgentError, ValueError, LookupError):
    """No agent has this id or name."""

    def __init__(self, address: str, known: Iterable[str] = ()) -> None:
        super().__init__(f"Agent {address[:80]!r} not found{nearest(address, known)}", name=address)


class AgentNameTakenError(AgentError, ValueError):
    """An agent of this name is alive on ``node_id``."""

    def __init__(self, name: str, *, node_id: str, since: str, agent_id: str | None = None) -> None:
        self.node_id = node_id
        super().__init__(
            f"Agent name {name!r} is taken: alive on node {node_id} since {since}",
            agent_id=agent_id,
            name=name,
            note="Unregister that agent, choose another name, or use the agent that is there.",
        )


class AgentLimitError(AgentError, RuntimeError):
    """As many agents run as ``limit`` allows. The agent is queued and starts when a place is free."""

    def __init__(self, limit: int, *, agent_id: str | None = None, name: str | None = None) -> None:
        self.limit = limit
        super().__init__(
            "Max concurrent agents reached",
            agent_id=agent_id,
            name=name,
            note=f"The limit is {limit}. The agent is queued and starts when a place is free; stop an agent, or raise "
            "ResourceLimit.max_concurrent_agents.",
        )


class AgentStateError(AgentError, RuntimeError):
    """The agent's ``status`` does not allow ``operation``."""

    def __init__(
        self,
        text: str,
        *,
        status: str = "",
        operation: str = "",
        agent_id: str | None = None,
        name: str | None = None,
    ) -> None:
        self.status = status
        self.operation = operation
        super().__init__(text, agent_id=agent_id, name=name)


class AgentStartError(AgentError, RuntimeError):
    """The agent's constructor, ``on_start`` or ``on_resume`` raised; the cause is chained."""


class AgentPauseError(AgentError, RuntimeError):
    """The agent could not be paused and runs on: ``on_pause`` raised, or no safe point came in time."""


class ProcessError(AgentError, RuntimeError):
    """The agent's process could not be started or ended badly."""

    def __init__(
        self,
        text: str,
        *,
        exit_code: int | None = None,
        stderr_tail: str = "",
        agent_id: str | None = None,
        name: str | None = None,
    ) -> None:
        self.exit_code = exit_code
        self.stderr_tail = stderr_tail
        note = f"Its last output on stderr:\n{stderr_tail}" if stderr_tail else None
        super().__init__(text, agent_id=agent_id, name=name, note=note)


class DeadAgentError(AgentError, ConnectionError):
    """The agent is not there to answer. ``reason``: not_running, stopped, died or node_lost."""

    def __init__(
        self,
        text: str,
        *,
        reason: str = "not_running",
        exit_code: int | None = None,
        agent_id: str | None = None,
        name: str | None = None,
    ) -> None:
        self.reason = reason
        self.exit_code = exit_code
        super().__init__(text, agent_id=agent_id, name=name)


class ResourceLimitExceededError(AgentError, RuntimeError):
    """A process took more than its hard limit and was ended. Units: MB, seconds, or percent of one core."""

    def __init__(
        self,
        resource_type: str,
        current: float,
        limit: float,
        *,
        agent_id: str | None = None,
        name: str | None = None,
    ) -> None:
        self.resource_type = resource_type
        self.current = current
        self.limit = limit
        super().__init__(
            f"{resource_type} limit exceeded: {current:g} of {limit:g}",
            agent_id=agent_id,
            name=name,
        )


class GroupError(AgentError, RuntimeError):
    """Some members of a group failed; the others are done. ``failures`` maps agent name to error."""

    def __init__(self, text: str, *, failures: Mapping[str, BaseException] | None = None) -> None:
        self.failures: dict[str, BaseException] = dict(failures or {})
        super().__init__(text)


# -- tasks --------------------------------------------------------------------------------------------------------


class TaskError(ShoalError):
    """Something about one task."""

    def __init__(self, text: str, *, task_id: str | None = None, note: str | None = None) -> None:
        self.task_id = task_id
        super().__init__(text, note=note)


class TaskNotFoundError(TaskError, ValueError, LookupError):
    """No task has this id (or retention has removed it)."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"Task {task_id[:80]!r} not found", task_id=task_id)


class TaskTimeoutError(TaskError, TimeoutError):
    """One attempt took longer than ``timeout_seconds``."""

    def __init__(self, timeout_seconds: float | None = None, *, task_id: str | None = None) -> None:
        self.timeout_seconds = timeout_seconds
        super().__init__(
            "Task execution timeout",
            task_id=task_id,
            note=f"The attempt had {timeout_seconds:g} s; pass timeout_seconds= or raise "
            "ResourceLimit.task_timeout_seconds."
            if timeout_seconds is not None
            else None,
        )


class TaskFailedError(TaskError, RuntimeError):
    """The task ended as failed. ``error_type`` and ``error_message`` are what the agent raised."""

    def __init__(self, error_type: str, error_message: str, *, task_id: str | None = None) -> None:
        self.error_type = error_type
        self.error_message = error_message
        super().__init__(f"Task failed: {error_type}: {error_message}", task_id=task_id)


class TaskCancelledError(TaskError, RuntimeError):
    """The task ended as cancelled."""

    def __init__(self, reason: str | None = None, *, task_id: str | None = None) -> None:
        self.reason = reason
        super().__init__(f"Task cancelled: {reason}" if reason else "Task cancelled", task_id=task_id)


class TaskInterruptedError(TaskError, RuntimeError):
    """The attempt was cut short: its node or runtime ended. An agent may raise it to be run again later."""

    def __init__(self, text: str = "Task interrupted", *, task_id: str | None = None) -> None:
        super().__init__(text, task_id=task_id)


class DependencyFailedError(TaskError, RuntimeError):
    """A task that this one waited for failed or was cancelled."""

    def __init__(
        self,
        dependency_id: str,
        dependency_status: str,
        root_id: str | None = None,
        *,
        task_id: str | None = None,
    ) -> None:
        self.dependency_id = dependency_id
        self.dependency_status = dependency_status
        self.root_id = root_id or dependency_id
        root = "" if self.root_id == dependency_id else f" (first cause: {self.root_id})"
        super().__init__(f"Dependency {dependency_id} {dependency_status}{root}", task_id=task_id)


class CyclicDependencyError(TaskError, ValueError):
    """Tasks of one batch wait for each other in a circle."""

    def __init__(self, cycle: Sequence[str]) -> None:
        self.cycle: tuple[str, ...] = tuple(cycle)
        super().__init__(f"Cyclic dependency: {' -> '.join(self.cycle)}")


class IdempotencyConflictError(TaskError, ValueError):
    """The idempotency key belongs to a task with another name or input."""

    def __init__(self, key: str, *, task_id: str) -> None:
        self.key = key
        super().__init__(
            f"Idempotency key {key[:80]!r} belongs to task {task_id}, which has another name or input",
            task_id=task_id,
        )


class WaitTimeoutError(TaskError, TimeoutError):
    """The wait ended before the tasks did; they go on. ``pending`` names those not yet done."""

    def __init__(self, pending: Sequence[str], timeout_seconds: float | None = None) -> None:
        self.pending: tuple[str, ...] = tuple(pending)
        after = "" if timeout_seconds is None else f" after {timeout_seconds:g} s"
        super().__init__(
            f"{len(self.pending)} task(s) not done{after}",
            task_id=self.pending[0] if len(self.pending) == 1 else None,
            note="The tasks go on; wait again with the same ids.",
        )


# -- capacity, data, leases ---------------------------------------------------------------------------------------


class QueueFullError(ShoalError, RuntimeError):
    """The queue holds as many as it may. Nothing was stored."""

    def __init__(self, queue_name: str, max_size: int, text: str = "Task queue at capacity") -> None:
        self.queue_name = queue_name
        self.max_size = max_size
        super().__init__(
            text, note=f"The queue {queue_name!r} holds at most {max_size}; wait for some to end, or raise the limit."
        )


class MailboxFullError(QueueFullError):
    """The mailbox of each of ``recipients`` is full. The message went to nobody."""

    def __init__(self, recipients: Sequence[str], max_size: int) -> None:
        self.recipients: tuple[str, ...] = tuple(recipients)
        super().__init__("mailbox", max_size, f"Mailbox of {', '.join(map(repr, recipients))} is full ({max_size})")


class PayloadError(ShoalError, ValueError):
    """A value cannot be stored or sent. ``path`` says where in it, for example ``input_data.items[3]``."""

    def __init__(self, text: str, *, path: str = "") -> None:
        self.path = path
        super().__init__(
            text, note="Values are JSON: None, bool, int of 64 bits, finite float, str, list, dict with str keys."
        )


class PayloadTooLargeError(PayloadError):
    """A value is larger than ``limit`` bytes when encoded."""

    def __init__(self, size: int, limit: int, *, path: str = "value") -> None:
        self.size = size
        self.limit = limit
        super().__init__(f"{path} has {size} bytes, the limit is {limit}", path=path)


class MessageTooLargeError(PayloadTooLargeError):
    """A message is larger than ``limit`` bytes when encoded."""


class VersionConflictError(ShoalError, RuntimeError):
    """The key has another version than the writer expected (0 = does not exist)."""

    def __init__(self, key: str, expected: int, actual: int) -> None:
        self.key = key
        self.expected = expected
        self.actual = actual
        super().__init__(f"{key!r} has version {actual}, expected {expected}")


class LeaseLostError(ShoalError, RuntimeError):
    """This node's or holder's lease ended, so somebody else may do its work now. Nothing was written."""


# -- messages -----------------------------------------------------------------------------------------------------


class MessageError(ShoalError):
    """Something about one message."""


class ResponseTimeoutError(MessageError, TimeoutError):
    """No answer came in time; the agent asked is alive."""


class MessageExpiredError(MessageError, TimeoutError):
    """The message's time to live ended before anybody took it."""


class NoHandlerError(MessageError, RuntimeError):
    """The agent asked has no ``on_message``, so it can never answer."""


class RequestFailedError(MessageError, RuntimeError):
    """The handler of the agent asked raised."""

    def __init__(self, text: str, *, error_type: str = "", error_message: str = "", traceback: str = "") -> None:
        self.error_type = error_type
        self.error_message = error_message
        self.traceback = traceback
        super().__init__(text, note=traceback or None)


class DeadlockError(MessageError, RuntimeError):
    """The wait could never end: each agent of ``cycle`` waits for the next."""

    def __init__(self, cycle: Sequence[str]) -> None:
        self.cycle: tuple[str, ...] = tuple(cycle)
        super().__init__(f"deadlock: {' -> '.join(self.cycle)}")


class ChainTooDeepError(MessageError, RuntimeError):
    """A chain of calls is longer than 64."""

    def __init__(self, limit: int = 64) -> None:
        self.limit = limit
        super().__init__(f"call chain longer than {limit}")


# -- boxes --------------------------------------------------------------------------------------------------------


class BoxError(ShoalError, RuntimeError):
    """Something about one box."""


class ProtocolError(BoxError):
    """What came over the wire is not a frame of the protocol."""


class BoxStartError(BoxError):
    """A box did not come up. ``phase``: probe, spec, launch, hello or assign."""

    def __init__(
        self, text: str, *, level: str = "", phase: str = "", exit_code: int | None = None, stderr_tail: str = ""
    ) -> None:
        self.level = level
        self.phase = phase
        self.exit_code = exit_code
        self.stderr_tail = stderr_tail
        super().__init__(text, note=f"Its last output on stderr:\n{stderr_tail}" if stderr_tail else None)
