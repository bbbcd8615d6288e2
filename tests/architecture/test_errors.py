"""The error tree of the specification: every class, base, attribute and text; and the drawing in the docstring."""

from __future__ import annotations

import builtins
import copy
import inspect
import pickle
import re

import pytest

from shoal import errors
from shoal.errors import ShoalError

TREE = """
ShoalError: Exception:
ConfigError: ShoalError ValueError: faults
IsolationUnavailableError: ConfigError: faults
MissingExtraError: ShoalError RuntimeError ImportError: extra
StoreError: ShoalError RuntimeError: url
RuntimeStateError: ShoalError RuntimeError:
RuntimeNotStartedError: RuntimeStateError:
RuntimeStoppingError: RuntimeStateError:
RuntimeClosedError: RuntimeStateError:
AgentError: ShoalError: agent_id name
AgentNotFoundError: AgentError ValueError LookupError: agent_id name
AgentNameTakenError: AgentError ValueError: agent_id name node_id
AgentLimitError: AgentError RuntimeError: agent_id name limit
AgentStateError: AgentError RuntimeError: agent_id name status operation
AgentStartError: AgentError RuntimeError: agent_id name
AgentPauseError: AgentError RuntimeError: agent_id name
ProcessError: AgentError RuntimeError: agent_id name exit_code stderr_tail
DeadAgentError: AgentError ConnectionError: agent_id name reason exit_code began
ResourceLimitExceededError: AgentError RuntimeError: agent_id name resource_type current limit
GroupError: AgentError RuntimeError: agent_id name failures
TaskError: ShoalError: task_id
TaskNotFoundError: TaskError ValueError LookupError: task_id
TaskTimeoutError: TaskError TimeoutError: task_id timeout_seconds
TaskFailedError: TaskError RuntimeError: task_id error_type error_message
TaskCancelledError: TaskError RuntimeError: task_id reason
TaskInterruptedError: TaskError RuntimeError: task_id
DependencyFailedError: TaskError RuntimeError: task_id dependency_id dependency_status root_id
CyclicDependencyError: TaskError ValueError: task_id cycle
IdempotencyConflictError: TaskError ValueError: task_id key
WaitTimeoutError: TaskError TimeoutError: task_id pending
LeaseLostError: ShoalError RuntimeError:
LockError: ShoalError: namespace key
LockTimeoutError: LockError TimeoutError: namespace key timeout holder
LockNotOwnedError: LockError RuntimeError: namespace key
QueueFullError: ShoalError RuntimeError: queue_name max_size
MailboxFullError: QueueFullError: queue_name max_size recipients
PayloadError: ShoalError ValueError: path
PayloadTooLargeError: PayloadError: path size limit
MessageTooLargeError: PayloadTooLargeError: path size limit
VersionConflictError: ShoalError RuntimeError: key expected actual
MessageError: ShoalError:
ResponseTimeoutError: MessageError TimeoutError:
MessageExpiredError: MessageError TimeoutError:
NoHandlerError: MessageError RuntimeError:
RequestFailedError: MessageError RuntimeError: error_type error_message traceback box
DeadlockError: MessageError RuntimeError: cycle
ChainTooDeepError: MessageError RuntimeError: limit
WorkMessageError: MessageError ValueError:
BoxError: ShoalError RuntimeError:
BusError: ShoalError ConnectionError:
ServerError: ShoalError RuntimeError:
ProtocolError: BoxError:
BoxStartError: BoxError: level phase exit_code stderr_tail
BoxExistsError: BoxError ValueError: name
BoxNotFoundError: AgentNotFoundError: agent_id name
BoxNotRunningError: DeadAgentError: agent_id name reason exit_code began
BoxStoppedError: DeadAgentError: agent_id name reason exit_code began
BoxSpecError: BoxError ValueError: faults
BoxStateError: BoxError:
BoxProgramError: BoxError:
BoxWaitTimeoutError: BoxError TimeoutError: codes
LimitUnavailableError: BoxError:
NotAllowedError: BoxError: sender target
PythonMismatchError: BoxError: host box
SelfSendError: BoxError:
RunError: ShoalError RuntimeError: run_id
RunNotFoundError: RunError LookupError: run_id
RunActiveError: RunError: run_id node
RunConflictError: RunError: run_id
RunChangedError: RunError: run_id step
BudgetExceededError: RunError: run_id limit spent needed scope
LoopDetectedError: RunError: run_id kind evidence
ModelError: ShoalError RuntimeError: model
ModelAuthError: ModelError: model
ModelRejectedError: ModelError: model status
ModelRateLimitError: ModelError: model retry_after
ModelUnavailableError: ModelError: model
ModelTimeoutError: ModelError TimeoutError: model
ContextTooLongError: ModelError: model
ContentFilteredError: ModelError: model
OutputInvalidError: ModelError: model text reason
UnpricedModelError: ModelError: model
ScriptExhaustedError: ModelError: model agent_name ordinal
CassetteError: ModelError: model path line
CassetteMissError: CassetteError: model path line
ToolError: ShoalError RuntimeError: tool
ToolTimeoutError: ToolError TimeoutError: tool
ApprovalRequiredError: ToolError: tool
ApprovalNotFoundError: ToolError LookupError: tool
InfoError: ConfigError: faults
AlreadyAnsweredError: MessageError RuntimeError:
PoolFullError: QueueFullError: queue_name max_size
RegistryUnavailableError: ShoalError ConnectionError: attempts
RequestError: MessageError: code message details retryable
RequestTimeout: RequestError ResponseTimeoutError: code message details retryable
AgentDied: RequestError DeadAgentError: code message details retryable reason exit_code began agent_id name
NotFound: RequestError AgentNotFoundError: code message details retryable agent_id name
Deadlock: RequestError DeadlockError: code message details retryable cycle
ChainTooDeep: RequestError ChainTooDeepError: code message details retryable limit
BadPayload: RequestError PayloadError: code message details retryable path
CircuitOpen: RequestError: code message details retryable
ValidationFailed: RequestError ValueError: code message details retryable
"""
ROWS = [tuple(part.split() for part in line.split(":")) for line in TREE.strip().splitlines()]

MADE: dict[str, tuple[tuple[object, ...], dict[str, object]]] = {
    "MissingExtraError": (("monitoring", "The Prometheus text"), {}),
    "AgentNotFoundError": (("wroker", ["worker"]), {}),
    "AgentNameTakenError": (("worker",), {"node_id": "n1", "since": "2026-01-01"}),
    "AgentLimitError": ((3,), {}),
    "ResourceLimitExceededError": (("memory", 600, 512), {}),
    "TaskNotFoundError": (("t1",), {}),
    "TaskTimeoutError": ((1.5,), {}),
    "TaskFailedError": (("ValueError", "bad"), {}),
    "DependencyFailedError": (("t1", "failed", "t0"), {}),
    "CyclicDependencyError": ((["a", "b", "a"],), {}),
    "IdempotencyConflictError": (("k",), {"task_id": "t1"}),
    "WaitTimeoutError": ((["t1"], 2.0), {}),
    "QueueFullError": (("tasks", 1000), {}),
    "MailboxFullError": ((["worker"], 1000), {}),
    "LockTimeoutError": (("file", "/x", 0.05, "process 7"), {}),
    "LockNotOwnedError": (("file", "/x", "thread 'b'", "thread 'a'"), {}),
    "PayloadTooLargeError": ((11, 10), {}),
    "MessageTooLargeError": ((11, 10), {}),
    "VersionConflictError": (("k", 1, 2), {}),
    "DeadlockError": ((["a", "b", "a"],), {}),
    "BoxExistsError": (("x",), {}),
    "BoxNotFoundError": (("x",), {}),
    "BoxWaitTimeoutError": (("late", {"x": None}), {}),
    "NotAllowedError": (("a", "b"), {}),
    "PythonMismatchError": (("3.11", "3.12"), {}),
    "RunActiveError": (("r1", "n1"), {}),
    "RunChangedError": (("r1", "0:Writer/model1"), {}),
    "BudgetExceededError": (("max_cost", 0.5, 0.25, "1:Debate"), {}),
    "LoopDetectedError": (("same_call", "search({'q': 'x'})"), {}),
    "ModelRejectedError": (("no such model",), {"status": 404}),
    "ModelRateLimitError": (("slow down",), {"retry_after": 7.0}),
    "ModelTimeoutError": (("late",), {}),
    "ToolTimeoutError": (("late",), {}),
    "OutputInvalidError": (("{", "it is no JSON"), {}),
    "UnpricedModelError": (("openai:mine",), {}),
    "ScriptExhaustedError": (("Writer", 3, 3), {}),
    "PoolFullError": (("cpu", 104), {}),
    "RequestError": (("NO_WORKERS", "No workers available"), {}),
    "AgentDied": (("worker/1 died", {"exit_code": -9}), {}),
    "Deadlock": (("a -> b -> a", {"cycle": ["a", "b", "a"]}), {}),
    "CassetteError": (("x.jsonl, line 7: it is no JSON",), {"path": "x.jsonl", "line": 7}),
}
TEXTS = {
    "RuntimeNotStartedError": "Runtime not started",
    "RuntimeStoppingError": "Runtime is stopping",
    "AgentLimitError": "Max concurrent agents reached",
    "TaskTimeoutError": "Task execution timeout",
    "QueueFullError": "Task queue at capacity",
    "CyclicDependencyError": "Cyclic dependency: a -> b -> a",
    "DeadlockError": "deadlock: a -> b -> a",
    "MissingExtraError": "The Prometheus text needs the extra 'monitoring'",
    "AgentNotFoundError": "Agent 'wroker' not found; did you mean 'worker'?",
    "DependencyFailedError": "Dependency t1 failed (first cause: t0)",
    "VersionConflictError": "'k' has version 2, expected 1",
    "LockTimeoutError": "file:/x not free after 0.05 s, held by process 7",
    "LockNotOwnedError": "file:/x is held by thread 'a', not by thread 'b'",
    "PayloadTooLargeError": "value has 11 bytes, the limit is 10",
    "BoxExistsError": "Box 'x' exists",
    "BoxNotFoundError": "Box 'x' not found",
    "BoxNotRunningError": "Box 'something' not running",
    "BoxStoppedError": "Box 'something' stopped before it answered",
    "NotAllowedError": "Box 'a' may not talk to 'b'",
    "SelfSendError": "Cannot send to self",
    "RunActiveError": "run 'r1' is being carried out by node 'n1'",
    "RunChangedError": "step '0:Writer/model1' of run 'r1' was recorded with another input",
    "BudgetExceededError": "budget exceeded: max_cost of 1:Debate: 0.5 used, 0.25 more needed",
    "LoopDetectedError": "loop detected (same_call): search({'q': 'x'})",
    "OutputInvalidError": "the output is not valid: it is no JSON",
    "UnpricedModelError": (
        "the price of 'openai:mine' is not known, so max_cost cannot be held: "
        "give Agent(price=(in, out)) or Budget(unpriced='allow'); "
        "in a team file price = [in, out], or unpriced = 'allow'"
    ),
    "PoolFullError": "Pool 'cpu' at capacity",
    "RequestError": "NO_WORKERS: No workers available",
    "AgentDied": "AGENT_DIED: worker/1 died",
    "RequestTimeout": "TIMEOUT",
    "ScriptExhaustedError": "the script has 3 replies of 'Writer', and number 4 was asked for",
}
NO_ADVICE = ("RuntimeNotStartedError", "RuntimeStoppingError", "AgentLimitError", "QueueFullError", "PayloadError")


def _make(name: str) -> ShoalError:
    args, named = MADE.get(name, ((), {}))
    cls = getattr(errors, name)
    if name not in MADE and any(
        p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in inspect.signature(cls).parameters.values()
    ):
        args = ("something",)
    made: ShoalError = cls(*args, **named)
    return made


def _classes() -> dict[str, type[ShoalError]]:
    return {n: c for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, ShoalError)}


def test_the_tree_is_complete_and_exported() -> None:
    written = {row[0][0] for row in ROWS}
    assert written == set(_classes())
    assert set(_classes()) <= set(errors.__all__)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][0])
def test_class_bases_and_attributes(row: tuple[list[str], list[str], list[str]]) -> None:
    (name,), bases, attributes = row
    cls = _classes()[name]
    assert [base.__name__ for base in cls.__bases__] == bases
    assert issubclass(cls, ShoalError)
    made = _make(name)
    assert [a for a in attributes if not hasattr(made, a)] == []
    assert sorted(set(vars(made)) - {"__notes__"}) == sorted(attributes)


@pytest.mark.parametrize("name", TEXTS)
def test_exact_text(name: str) -> None:
    assert str(_make(name)) == TEXTS[name]


@pytest.mark.parametrize("name", NO_ADVICE)
def test_the_advice_is_in_a_note_and_not_in_the_text(name: str) -> None:
    (note,) = _make(name).__notes__
    assert note
    assert note not in str(_make(name))


@pytest.mark.parametrize("name", [row[0][0] for row in ROWS])
def test_copies_and_pickles_keep_everything(name: str) -> None:
    made = _make(name)
    for other in (copy.copy(made), pickle.loads(pickle.dumps(made))):
        assert type(other) is type(made)
        assert str(other) == str(made)
        assert vars(other) == vars(made)


def test_the_drawing_in_the_docstring_is_the_real_tree() -> None:
    drawn: dict[str, list[str]] = {}
    above: list[str] = []
    assert errors.__doc__ is not None
    for line in errors.__doc__.splitlines():
        found = re.match(r"^    ([│├└─ ]*)(\w+)(?: \(([\w, ]+)\))?", line)
        if found:
            depth = len(found[1]) // 4
            del above[depth:]
            drawn[found[2]] = above[-1:] + (found[3].split(", ") if found[3] else [])
            above.append(found[2])
    real = {n: [b.__name__ for b in c.__bases__] for n, c in _classes().items()}
    real["ShoalError"] = []
    assert drawn == real


def test_every_base_outside_the_tree_is_a_builtin() -> None:
    for name, cls in _classes().items():
        for base in cls.__bases__:
            assert issubclass(base, ShoalError) or base is getattr(builtins, base.__name__), name
