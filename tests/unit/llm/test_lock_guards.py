"""Locks around functions and tools."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shoal import LockTimeoutError, get_lock, thread_safe_tool, with_lock

Run = Callable[..., Any]


class Watch:
    """Counts who is inside at once: for each key, and over all keys."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._inside: dict[str, int] = {}
        self.most_per_key = 0
        self.most = 0
        self.entries = 0

    def enter(self, key: str) -> None:
        with self._guard:
            self._inside[key] = self._inside.get(key, 0) + 1
            self.entries += 1
            self.most_per_key = max(self.most_per_key, self._inside[key])
            self.most = max(self.most, sum(self._inside.values()))

    def leave(self, key: str) -> None:
        with self._guard:
            self._inside[key] -= 1


def _tool(watch: Watch) -> Any:
    class Edit:
        """Edits a thing."""

        async def execute(self, resource_id: str = "unnamed", data: dict[str, int] | None = None) -> str:
            """Edit it."""
            watch.enter(resource_id)
            await asyncio.sleep(0.02)
            watch.leave(resource_id)
            return resource_id

    return Edit


@pytest.mark.spec("O23")
def test_a_tool_runs_once_at_a_time_per_key_and_in_parallel_across_keys(run: Run) -> None:
    watch = Watch()
    plain = _tool(watch)
    tool: Any = thread_safe_tool("my_resource", key_arg="resource_id")(plain)
    assert inspect.isclass(tool)
    assert tool is plain and tool.__doc__ == "Edits a thing."
    assert tool.execute.__doc__ == "Edit it." and inspect.iscoroutinefunction(tool.execute)
    assert list(inspect.signature(tool.execute).parameters) == ["self", "resource_id", "data"]

    async def main() -> None:
        calls = []
        for _ in range(3):
            calls += [tool().execute("a", {"x": 1}), tool().execute(resource_id="b"), tool().execute()]
        done = await asyncio.gather(*calls)
        assert done == ["a", "b", "unnamed"] * 3

    run(main)
    assert (watch.most_per_key, watch.entries) == (1, 9) and watch.most == 3


@pytest.mark.spec("O23")
def test_one_key_given_in_three_ways_is_one_key(run: Run) -> None:
    watch = Watch()
    tool = thread_safe_tool("ways", key_arg="resource_id")(_tool(watch))

    async def main() -> None:
        await asyncio.gather(tool().execute("unnamed"), tool().execute(resource_id="unnamed"), tool().execute())

    run(main)
    assert (watch.most_per_key, watch.most) == (1, 1)


@pytest.mark.spec("O23")
def test_without_a_key_all_calls_are_one_after_another(run: Run) -> None:
    watch = Watch()
    tool = thread_safe_tool("whole")(_tool(watch))

    async def main() -> None:
        async with get_lock("whole", "default"):
            waits = asyncio.gather(*(tool().execute(name) for name in "abc"))
            await asyncio.sleep(0.05)
            assert watch.entries == 0
        await waits

    run(main)
    assert (watch.most, watch.entries) == (1, 3)


@pytest.mark.spec("O23")
def test_functions_in_threads_and_on_loops_exclude_each_other(run: Run) -> None:
    watch = Watch()

    @with_lock("fn", key_arg="key")
    def blocking(key: str, times: int = 1) -> int:
        watch.enter(key)
        time.sleep(0.01)
        watch.leave(key)
        return times

    @with_lock("fn", "key")
    async def waiting(times: int, *, key: str = "a") -> int:
        watch.enter(key)
        await asyncio.sleep(0.01)
        watch.leave(key)
        return times

    async def main() -> None:
        with ThreadPoolExecutor(6) as pool:
            loop = asyncio.get_running_loop()
            in_threads = [loop.run_in_executor(pool, blocking, key, 2) for key in "abab"]
            done = await asyncio.gather(*in_threads, waiting(3), waiting(3, key="b"), waiting(times=3))
        assert done == [2, 2, 2, 2, 3, 3, 3]

    run(main)
    assert (watch.most_per_key, watch.entries) == (1, 7) and watch.most == 2


@pytest.mark.spec("O23")
def test_a_tool_that_waits_too_long_says_so(run: Run) -> None:
    tool = thread_safe_tool("late", timeout=0.02)(_tool(Watch()))

    async def main() -> None:
        async with get_lock("late", "default"):
            with pytest.raises(LockTimeoutError, match="late:default not free"):
                await asyncio.create_task(tool().execute("a"))

    run(main)


def test_keys_that_are_no_text(run: Run) -> None:
    @with_lock("n", "number")
    async def work(number: int) -> str:
        async with get_lock("n", "7", 0):  # the same lock: its owner may take it again
            return "done"

    assert run(lambda: work(7)) == "done"


def test_wrong_arguments_are_the_callers_type_error(run: Run) -> None:
    @with_lock("n", "a")
    async def work(a: int) -> int:
        return a

    async def main() -> None:
        with pytest.raises(TypeError, match="argument"):
            await work(1, 2)  # type: ignore[call-arg]

    run(main)


@pytest.mark.spec("O23")
def test_a_sync_function_on_a_loop_is_refused(run: Run) -> None:
    @with_lock("n")
    def work() -> None:
        pass

    async def main() -> None:
        with pytest.raises(RuntimeError, match="async with"):
            work()

    run(main)


@pytest.mark.spec("O50")
def test_what_is_wrong_is_told_at_decoration() -> None:
    def fn(path: str, mode: str = "w") -> None: ...

    def stream() -> Iterator[int]:
        yield 1

    with pytest.raises(ValueError, match=r"fn\(path, mode\) has no parameter 'paht'; did you mean 'path'\?"):
        with_lock("n", "paht")(fn)
    with pytest.raises(ValueError, match=r"execute\(self, resource_id, data\) has no parameter 'name'"):
        thread_safe_tool("n", "name")(_tool(Watch()))
    with pytest.raises(TypeError, match="generator"):
        with_lock("n")(stream)
    with pytest.raises(TypeError, match="no method execute"):
        thread_safe_tool("n")(Watch)
    with pytest.raises(TypeError, match="no class"):
        thread_safe_tool("n")(fn)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="no function"):
        with_lock("n")(Watch)
    with pytest.raises(ValueError, match="timeout"):
        with_lock("n", timeout=-1)(fn)
    with pytest.raises(ValueError, match="namespace"):
        thread_safe_tool("")(_tool(Watch()))
