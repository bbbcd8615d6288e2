from __future__ import annotations

import functools
import threading
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import pytest

from shoal.boxes.pack import pack, travels_by_value
from shoal.errors import ConfigError
from shoal.kernel.agent import BaseAgent
from shoal.kernel.task import Task


class Mine(BaseAgent):
    async def execute_task(self, task: Task) -> str:
        return helper(task.name)


def helper(name: str) -> str:
    return name.upper()


async def with_lock(task: Task, lock: Any = None) -> None: ...


def test_what_is_the_users_own_travels_by_value() -> None:
    import json
    import sys

    import msgspec

    import shoal.kernel.task

    assert travels_by_value(sys.modules[__name__])
    for module in (json, msgspec, shoal.kernel.task):
        assert not travels_by_value(module)
    assert b"helper" in pack(Mine)
    assert b"execute_task" not in pack(BaseAgent)


def test_packing_leaves_no_trace() -> None:
    before = set(cloudpickle.list_registry_pickle_by_value())
    pack(Mine)
    with pytest.raises(ConfigError):
        pack(functools.partial(with_lock, lock=threading.Lock()))
    assert set(cloudpickle.list_registry_pickle_by_value()) == before


def test_partials_and_instances_travel() -> None:
    assert cloudpickle.loads(pack(functools.partial(helper, "x")))() == "X"
    assert type(cloudpickle.loads(pack(Mine({"a": 1})))).__name__ == "Mine"


def test_the_culprit_is_named() -> None:
    class Holder:
        attempts = 3
        door = threading.Lock()

        async def execute_task(self, task: Task) -> None: ...

    with pytest.raises(ConfigError, match=r"Holder cannot travel to a process: door \(lock\)"):
        pack(Holder)
