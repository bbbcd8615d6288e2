"""What a caller asks for becomes a Task: every field is checked before anything is stored."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from shoal.errors import AgentStateError, CyclicDependencyError
from shoal.kernel.behaviour import takes_tasks
from shoal.kernel.clock import as_utc
from shoal.kernel.payload import checked
from shoal.kernel.task import RetryPolicy, Task, TaskSpec, parse_priority

if TYPE_CHECKING:
    from shoal.kernel.env import Env
    from shoal.kernel.registration import Registration

__all__ = ["Submission", "check_acyclic", "check_timeout"]

_NO_RETRY = RetryPolicy()


class Submission:
    """Builds tasks out of the arguments of ``submit_task`` and the fields of ``TaskSpec``."""

    def __init__(self, env: Env, registrations: Mapping[str, Registration], resolve: Callable[[str], str]) -> None:
        self._env = env
        self._registrations = registrations
        self._resolve = resolve  # an agent's id or name to its id

    def task(
        self, spec: Mapping[str, Any], parent: Task | None, keys: Mapping[str, str], task_id: str | None = None
    ) -> Task:
        """Check every field, then build the record. *keys* maps names inside a batch to ids."""
        env = self._env
        name = spec["name"]
        if not isinstance(name, str) or not 1 <= len(name) <= 200:
            raise ValueError(f"task name must be text of 1 to 200 characters, not {str(name)[:80]!r}")
        retry = _retry_policy(spec.get("retry"), spec["max_retries"])
        check_timeout(spec["timeout_seconds"])
        on_failure = spec.get("on_dependency_failure", "fail")
        if on_failure not in ("fail", "run"):
            raise ValueError(f"on_dependency_failure must be fail or run, not {on_failure!r:.80}")
        now = env.clock.now()
        limit = env.settings.max_payload_bytes
        agent, capability, group = self._target(spec)
        return Task(
            task_id=task_id or env.clock.new_id(),
            name=name,
            priority=parse_priority(spec["priority"]),
            input_data=_checked_dict(spec["input_data"], "input_data", limit),
            dependencies=_dependencies(spec["dependencies"], keys),
            parent_id=None if parent is None else parent.task_id,
            root_id=None if parent is None else parent.root_id or parent.task_id,
            agent=agent,
            capability=capability,
            group=group,
            created_at=now,
            not_before=_not_before(spec, now),
            timeout_seconds=spec["timeout_seconds"],
            max_retries=retry.max_retries,
            retry=retry,
            on_dependency_failure=on_failure,
            idempotency_key=_checked_key(spec.get("idempotency_key")),
            metadata=_checked_dict(spec.get("metadata"), "metadata", limit),
        )

    def _target(self, spec: Mapping[str, Any]) -> tuple[str | None, str | None, str | None]:
        agent, capability, group = spec.get("agent"), spec.get("capability"), spec.get("group")
        given = {"agent": agent, "capability": capability, "group": group}
        names = [word for word, value in given.items() if value is not None]
        if len(names) > 1:
            raise ValueError(f"give at most one target, not {' and '.join(names)}")
        for word in names:
            if not isinstance(given[word], str) or not given[word]:
                raise ValueError(f"{word} must be text, not {given[word]!r:.80}")
        return (
            None if agent is None else self._agent(agent),
            None if capability is None else capability.casefold(),
            group,
        )

    def _agent(self, address: str) -> str:
        agent_id = self._resolve(address)
        registration = self._registrations.get(agent_id)
        if registration is not None and not takes_tasks(registration.source):
            raise AgentStateError(
                f"Agent {registration.name!r} takes no tasks: it has no execute_task",
                operation="submit_task",
                agent_id=agent_id,
                name=registration.name,
            )
        return agent_id


def _retry_policy(retry: RetryPolicy | None, max_retries: int) -> RetryPolicy:
    if retry is None:
        if max_retries == 0 and not isinstance(max_retries, bool):
            return _NO_RETRY
        retry = RetryPolicy(max_retries=max_retries)
    elif not isinstance(retry, RetryPolicy):
        raise TypeError(f"retry must be a RetryPolicy, not {type(retry).__name__}")
    elif max_retries:
        raise ValueError("retry and max_retries are two ways to say the same: give one of them")
    retry.validate()
    return retry


def check_timeout(seconds: object) -> None:
    """Raise ValueError unless *seconds* is None or a finite number above 0."""
    if seconds is None:
        return
    good = isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and math.isfinite(seconds)
    if not good or seconds <= 0:  # type: ignore[operator]
        raise ValueError(f"timeout_seconds must be above 0, or None, not {seconds!r:.80}")


def _checked_dict(value: Any, where: str, limit: int) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{where} must be a dict, not {type(value).__name__}")
    copy, _ = checked(dict(value), where, limit)
    assert isinstance(copy, dict)
    return copy


def _checked_key(key: object) -> str | None:
    if key is not None and (not isinstance(key, str) or not 1 <= len(key) <= 500):
        raise ValueError(f"idempotency_key must be text of 1 to 500 characters, not {str(key)[:80]!r}")
    return key


def _not_before(spec: Mapping[str, Any], now: datetime) -> datetime | None:
    moment, delay = spec.get("not_before"), spec.get("delay_seconds")
    if moment is not None and delay is not None:
        raise ValueError("not_before and delay_seconds are two ways to say the same: give one of them")
    if delay is not None:
        if isinstance(delay, bool) or not isinstance(delay, (int, float)) or not 0 <= delay < 1e10:
            raise ValueError(f"delay_seconds must be 0 or more, not {delay!r:.80}")
        return now + timedelta(seconds=delay) if delay else None
    if moment is not None and not isinstance(moment, datetime):
        raise TypeError(f"not_before must be a datetime, not {type(moment).__name__}")
    return None if moment is None else as_utc(moment)


def check_acyclic(specs: Sequence[TaskSpec], keys: Mapping[str, str]) -> None:
    """Raise CyclicDependencyError naming the keys on a circle, before ids are made of them."""
    waits = {spec.key: [d for d in spec.dependencies if d in keys] for spec in specs if spec.key is not None}
    done: set[str] = set()
    for start in waits:
        path: dict[str, None] = {}
        stack: list[tuple[str, int]] = [(start, 0)]
        while stack:
            key, place = stack.pop()
            if place == 0:
                if key in done:
                    continue
                if key in path:
                    names = list(path)
                    raise CyclicDependencyError([*names[names.index(key) :], key])
                path[key] = None
            if place < len(waits[key]):
                stack.append((key, place + 1))
                stack.append((waits[key][place], 0))
            else:
                path.pop(key, None)
                done.add(key)


def _dependencies(given: Sequence[str], keys: Mapping[str, str]) -> tuple[str, ...]:
    if isinstance(given, str):
        raise TypeError("dependencies is a list of task ids")
    return tuple(dict.fromkeys(keys.get(dependency, dependency) for dependency in given))
