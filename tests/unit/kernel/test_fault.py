from __future__ import annotations

import msgspec
import pytest

from shoal import errors
from shoal.errors import RequestFailedError, ShoalError
from shoal.kernel.fault import Fault, error_of, fault_of

_EXAMPLES: list[ShoalError] = [
    errors.ConfigError(["a: b", "c: d"], note="look"),
    errors.MissingExtraError("llm", "this"),
    errors.AgentNotFoundError("wrker", ["worker"]),
    errors.AgentNameTakenError("n", node_id="node", since="today"),
    errors.AgentLimitError(3, agent_id="a", name="n"),
    errors.ProcessError("ended", exit_code=3, stderr_tail="tail"),
    errors.DeadAgentError("gone", reason="died", exit_code=-9, agent_id="a"),
    errors.ResourceLimitExceededError("memory", 700.5, 512),
    errors.TaskTimeoutError(2.5, task_id="t"),
    errors.DependencyFailedError("d", "failed", "r", task_id="t"),
    errors.CyclicDependencyError(["a", "b", "a"]),
    errors.WaitTimeoutError(["a", "b"], 2.0),
    errors.MailboxFullError(["a", "b"], 5),
    errors.MessageTooLargeError(11, 10, path="data"),
    errors.VersionConflictError("k", 1, 2),
    errors.ResponseTimeoutError("late"),
    errors.RequestFailedError("x", error_type="T", error_message="m", traceback="tb"),
    errors.DeadlockError(["a", "b", "a"]),
    errors.ChainTooDeepError(),
]


def _across(error: BaseException) -> ShoalError:
    wire = msgspec.msgpack.encode(fault_of(error))
    return error_of(msgspec.msgpack.decode(wire, type=Fault))


@pytest.mark.parametrize("error", _EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_of_shoal_comes_back_equal(error: ShoalError) -> None:
    back = _across(error)
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)


def test_a_group_error_brings_its_failures() -> None:
    back = _across(
        errors.GroupError("two", failures={"a": errors.AgentStateError("no", status="stopped"), "b": KeyError("k")})
    )
    assert isinstance(back, errors.GroupError)
    first, second = back.failures["a"], back.failures["b"]
    assert isinstance(first, errors.AgentStateError)
    assert first.status == "stopped"
    assert isinstance(second, RequestFailedError)
    assert second.error_type == "KeyError"


def test_a_class_of_the_same_name_from_elsewhere_is_not_taken_for_ours() -> None:
    class DeadAgentError(Exception):
        pass

    back = _across(DeadAgentError("boo"))
    assert type(back) is RequestFailedError
    assert back.error_type == "DeadAgentError"
    assert str(back) == "DeadAgentError: boo"


def test_a_class_that_is_not_known_here_is_a_failed_request() -> None:
    back = error_of(Fault("FutureError", "new", {"x": 1}))
    assert type(back) is RequestFailedError
    assert (back.error_type, back.error_message) == ("FutureError", "new")
