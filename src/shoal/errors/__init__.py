"""Every error of Shoal, in one tree.

Each class also has a built-in base, so that code which knows nothing of Shoal can catch it. What the reader can do
about an error stands in its note (``add_note``), which a traceback prints below the text.

::

    ShoalError
    ├── ConfigError (ValueError)                    faults: every fault of a configuration, at once
    │   ├── IsolationUnavailableError               what the probe of this machine found
    │   └── InfoError                               what a service says of itself
    ├── MissingExtraError (RuntimeError, ImportError)   the extra to install
    ├── StoreError (RuntimeError)                   the store cannot be opened, or refused a write
    ├── BusError (ConnectionError)                  its server cannot be reached, or refuses this node
    ├── ServerError (RuntimeError)                  a server that Shoal starts: the end of its log
    ├── RuntimeStateError (RuntimeError)            not possible in the runtime's present state
    │   ├── RuntimeNotStartedError                  call ``await runtime.start()`` first
    │   ├── RuntimeStoppingError                    nothing new is taken
    │   └── RuntimeClosedError                      of boxes: make a new one
    ├── AgentError                                  agent_id, name
    │   ├── AgentNotFoundError (ValueError, LookupError)
    │   │   └── BoxNotFoundError
    │   ├── AgentNameTakenError (ValueError)        alive on another node, or on this one
    │   ├── AgentLimitError (RuntimeError)          the agent is queued
    │   ├── AgentStateError (RuntimeError)          status, operation
    │   ├── AgentStartError (RuntimeError)          constructor or on_start raised
    │   ├── AgentPauseError (RuntimeError)          on_pause raised, or no safe point in time
    │   ├── ProcessError (RuntimeError)             exit_code, stderr_tail
    │   ├── DeadAgentError (ConnectionError)        reason, exit_code
    │   │   ├── BoxNotRunningError                  no program runs in it
    │   │   └── BoxStoppedError                     stopped before it answered
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
    │   ├── MailboxFullError                        recipients
    │   └── PoolFullError                           the pool takes no more work
    ├── PayloadError (ValueError)                   path
    │   └── PayloadTooLargeError                    size, limit
    │       └── MessageTooLargeError
    ├── VersionConflictError (RuntimeError)         key, expected, actual
    ├── LeaseLostError (RuntimeError)               somebody else may be doing this work now
    ├── RegistryUnavailableError (ConnectionError)  attempts: the directory could not be asked
    ├── LockError                                   namespace, key
    │   ├── LockTimeoutError (TimeoutError)         timeout, holder
    │   └── LockNotOwnedError (RuntimeError)        the holder keeps it
    ├── MessageError
    │   ├── ResponseTimeoutError (TimeoutError)
    │   ├── MessageExpiredError (TimeoutError)
    │   ├── NoHandlerError (RuntimeError)
    │   ├── RequestFailedError (RuntimeError)       error_type, error_message, traceback
    │   ├── DeadlockError (RuntimeError)            cycle, by name
    │   ├── ChainTooDeepError (RuntimeError)
    │   ├── WorkMessageError (ValueError)           every fault, by its path
    │   ├── AlreadyAnsweredError (RuntimeError)     the second answer was not sent
    │   └── RequestError                            code, message, details, retryable: a service's bad answer
    │       ├── RequestTimeout (ResponseTimeoutError)
    │       ├── AgentDied (DeadAgentError)          exit_code
    │       ├── NotFound (AgentNotFoundError)
    │       ├── Deadlock (DeadlockError)
    │       ├── ChainTooDeep (ChainTooDeepError)
    │       ├── BadPayload (PayloadError)           path: it was not sent
    │       ├── CircuitOpen                         nothing was sent
    │       └── ValidationFailed (ValueError)       details: every violation
    ├── ModelError (RuntimeError)                   model
    │   ├── ModelAuthError                          the key is wrong, or may not use this model
    │   ├── ModelRejectedError                      status: refused for good
    │   ├── ModelRateLimitError                     retry_after
    │   ├── ModelUnavailableError                   another attempt may succeed
    │   ├── ModelTimeoutError (TimeoutError)
    │   ├── ContextTooLongError
    │   ├── ContentFilteredError
    │   ├── OutputInvalidError                      text, reason
    │   ├── UnpricedModelError                      max_cost cannot be held
    │   ├── ScriptExhaustedError                    agent_name, ordinal
    │   └── CassetteError                           path, line
    │       └── CassetteMissError                   the first difference
    ├── ToolError (RuntimeError)                    tool
    │   ├── ToolTimeoutError (TimeoutError)
    │   ├── ApprovalRequiredError                   nobody can be asked
    │   └── ApprovalNotFoundError (LookupError)
    ├── RunError (RuntimeError)                     run_id
    │   ├── RunNotFoundError (LookupError)
    │   ├── RunActiveError                          node: who carries it out
    │   ├── RunConflictError                        another pattern or input under the same id
    │   ├── RunChangedError                         step: recorded with another input
    │   ├── BudgetExceededError                     limit, spent, needed, scope
    │   └── LoopDetectedError                       kind, evidence
    └── BoxError (RuntimeError)
        ├── ProtocolError                           what came over the wire is not a frame
        ├── BoxStartError                           level, phase, exit_code, stderr_tail
        ├── BoxExistsError (ValueError)
        ├── BoxSpecError (ValueError)               faults: every fault of a spec, at once
        ├── BoxStateError                           not possible in the box's present state
        ├── BoxProgramError                         which object cannot be packed
        ├── PythonMismatchError                     host, box: the two versions
        ├── BoxWaitTimeoutError (TimeoutError)      codes, by name
        ├── LimitUnavailableError                   asked for, and cannot be held here
        ├── NotAllowedError                         sender, target
        └── SelfSendError
"""

from __future__ import annotations

from shoal.errors.agents import (
    AgentError,
    AgentLimitError,
    AgentNameTakenError,
    AgentNotFoundError,
    AgentPauseError,
    AgentStartError,
    AgentStateError,
    DeadAgentError,
    GroupError,
    ProcessError,
    ResourceLimitExceededError,
)
from shoal.errors.boxes import (
    BoxError,
    BoxExistsError,
    BoxNotFoundError,
    BoxNotRunningError,
    BoxProgramError,
    BoxSpecError,
    BoxStartError,
    BoxStateError,
    BoxStoppedError,
    BoxWaitTimeoutError,
    LimitUnavailableError,
    NotAllowedError,
    ProtocolError,
    PythonMismatchError,
    SelfSendError,
)
from shoal.errors.data import (
    LeaseLostError,
    MailboxFullError,
    MessageTooLargeError,
    PayloadError,
    PayloadTooLargeError,
    QueueFullError,
    VersionConflictError,
)
from shoal.errors.locks import LockError, LockNotOwnedError, LockTimeoutError
from shoal.errors.messages import (
    ChainTooDeepError,
    DeadlockError,
    MessageError,
    MessageExpiredError,
    NoHandlerError,
    RequestFailedError,
    ResponseTimeoutError,
    WorkMessageError,
)
from shoal.errors.models import (
    ApprovalNotFoundError,
    ApprovalRequiredError,
    CassetteError,
    CassetteMissError,
    ContentFilteredError,
    ContextTooLongError,
    ModelAuthError,
    ModelError,
    ModelRateLimitError,
    ModelRejectedError,
    ModelTimeoutError,
    ModelUnavailableError,
    OutputInvalidError,
    ScriptExhaustedError,
    ToolError,
    ToolTimeoutError,
    UnpricedModelError,
)
from shoal.errors.root import ShoalError, nearest
from shoal.errors.runs import (
    BudgetExceededError,
    LoopDetectedError,
    RunActiveError,
    RunChangedError,
    RunConflictError,
    RunError,
    RunNotFoundError,
)
from shoal.errors.services import (
    AgentDied,
    AlreadyAnsweredError,
    BadPayload,
    ChainTooDeep,
    CircuitOpen,
    Deadlock,
    InfoError,
    NotFound,
    PoolFullError,
    RegistryUnavailableError,
    RequestError,
    RequestTimeout,
    ValidationFailed,
)
from shoal.errors.setup import (
    BusError,
    ConfigError,
    IsolationUnavailableError,
    MissingExtraError,
    RuntimeClosedError,
    RuntimeNotStartedError,
    RuntimeStateError,
    RuntimeStoppingError,
    ServerError,
    StoreError,
)
from shoal.errors.tasks import (
    CyclicDependencyError,
    DependencyFailedError,
    IdempotencyConflictError,
    TaskCancelledError,
    TaskError,
    TaskFailedError,
    TaskInterruptedError,
    TaskNotFoundError,
    TaskTimeoutError,
    WaitTimeoutError,
)

__all__ = [
    "AgentDied", "AgentError", "AgentLimitError", "AgentNameTakenError", "AgentNotFoundError", "AgentPauseError",
    "AgentStartError", "AgentStateError", "AlreadyAnsweredError", "ApprovalNotFoundError", "ApprovalRequiredError",
    "BadPayload", "BoxError", "BoxExistsError", "BoxNotFoundError", "BoxNotRunningError", "BoxProgramError", "BoxSpecError",
    "BoxStartError", "BoxStateError", "BoxStoppedError", "BoxWaitTimeoutError", "BudgetExceededError", "BusError",
    "CassetteError", "CassetteMissError", "ChainTooDeep", "ChainTooDeepError", "CircuitOpen", "ConfigError",
    "ContentFilteredError", "ContextTooLongError", "CyclicDependencyError", "DeadAgentError", "Deadlock",
    "DeadlockError", "DependencyFailedError", "GroupError", "IdempotencyConflictError", "InfoError",
    "IsolationUnavailableError", "LeaseLostError", "LimitUnavailableError", "LockError", "LockNotOwnedError",
    "LockTimeoutError", "LoopDetectedError", "MailboxFullError", "MessageError", "MessageExpiredError",
    "MessageTooLargeError", "MissingExtraError", "ModelAuthError", "ModelError", "ModelRateLimitError",
    "ModelRejectedError", "ModelTimeoutError", "ModelUnavailableError", "NoHandlerError", "NotAllowedError",
    "NotFound", "OutputInvalidError", "PayloadError", "PayloadTooLargeError", "PoolFullError", "ProcessError",
    "ProtocolError", "PythonMismatchError", "QueueFullError", "RegistryUnavailableError", "RequestError",
    "RequestFailedError", "RequestTimeout", "ResourceLimitExceededError", "ResponseTimeoutError", "RunActiveError",
    "RunChangedError", "RunConflictError", "RunError", "RunNotFoundError", "RuntimeClosedError",
    "RuntimeNotStartedError", "RuntimeStateError", "RuntimeStoppingError", "ScriptExhaustedError", "SelfSendError",
    "ServerError", "ShoalError", "StoreError", "TaskCancelledError", "TaskError", "TaskFailedError", "TaskInterruptedError",
    "TaskNotFoundError", "TaskTimeoutError", "ToolError", "ToolTimeoutError", "UnpricedModelError",
    "ValidationFailed", "VersionConflictError", "WaitTimeoutError", "WorkMessageError", "nearest",
]  # fmt: skip
