"""Agents in real child processes: what they can do, how they end, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shoal.boxes.host import ChildHost, HostCallbacks, StartedChild
from shoal.boxes.limits import LimitKeeper, LimitWarning
from shoal.boxes.procfs import read_stat, started_at
from shoal.boxes.reaper import kill_orphan
from shoal.errors import (
    AgentPauseError,
    AgentStartError,
    ConfigError,
    DeadAgentError,
    MessageTooLargeError,
    PayloadError,
    ResourceLimitExceededError,
    TaskInterruptedError,
    VersionConflictError,
)
from shoal.kernel.agent import BaseAgent
from shoal.kernel.clock import RealClock
from shoal.kernel.failure import RemoteError
from shoal.kernel.limits import ResourceLimit
from shoal.kernel.message import AgentMessage
from shoal.kernel.ports import Exit, Handle, Invocation, LaunchSpec
from shoal.kernel.task import Task

CLOCK = RealClock()


class FakeRuntime:
    """A Link that answers from a table and remembers what it was asked."""

    def __init__(self, **answers: Callable[..., Any]) -> None:
        self.answers = answers
        self.calls: list[tuple[str, str | None, dict[str, Any]]] = []
        self.metrics: list[tuple[str, str, float]] = []
        self.stop = False
        self.cancelled = 0

    async def call(self, verb: str, invocation_id: str | None, args: Any) -> Any:
        self.calls.append((verb, invocation_id, dict(args)))
        try:
            value = self.answers[verb](**args)
            return await value if asyncio.iscoroutine(value) else value
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    def is_stopping(self) -> bool:
        return self.stop

    def give_back(self, invocation_id: str | None, taken: Any) -> None:
        self.calls.append(("give_back", invocation_id, {"taken": taken}))

    def metric(self, kind: str, name: str, value: float) -> None:
        self.metrics.append((kind, name, value))


def task(name: str = "work", **data: Any) -> Task:
    return Task(task_id="t1", name=name, input_data=data, created_at=datetime.now(UTC))


def spec(source: Any, **more: Any) -> LaunchSpec:
    given: dict[str, Any] = {"agent_id": "a1", "name": "worker", "config": {}, "limits": ResourceLimit(), **more}
    return LaunchSpec(source=source, isolation="process", node_id="n1", runtime_id="r1", **given)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


@contextlib.asynccontextmanager
async def hosted(**options: Any) -> AsyncIterator[ChildHost]:
    host = ChildHost(CLOCK, **{"warm_processes": 0, **options})
    try:
        yield host
    finally:
        await host.close()


@contextlib.asynccontextmanager
async def agent(source: Any, link: FakeRuntime | None = None, **more: Any) -> AsyncIterator[Handle]:
    options = more.pop("options", {})
    async with hosted(**options) as host:
        handle = await host.start(spec(source, **more), link or FakeRuntime())
        try:
            await handle.ready()
            yield handle
        finally:
            await handle.stop(1)


numbers = iter(range(10**9))


async def execute(handle: Handle, work: Task | None = None, **data: Any) -> Any:
    return await handle.invoke(
        Invocation(invocation_id=f"i{next(numbers)}", hook="execute_task", argument=work or task(**data))
    )


async def until(fact: Callable[[], Any], seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := fact()):
        assert time.monotonic() < deadline, "it never became true"
        await asyncio.sleep(0.005)
    return value


async def end_of(handle: Handle, seconds: float = 10.0) -> Exit:
    return await asyncio.wait_for(asyncio.shield(handle.exited), seconds)


def alive(pid: int) -> bool:
    stat = read_stat(pid)
    return stat is not None and stat.state not in "ZX"


class Everything(BaseAgent):
    """Does what its task is named."""

    async def execute_task(self, task: Task) -> Any:
        return await getattr(self, task.name)(task)

    async def echo(self, task: Task) -> Any:
        return task.input_data

    async def pid(self, task: Task) -> Any:
        return [os.getpid(), os.getsid(0), self.name, self.agent_id, self.config]

    async def spin(self, task: Task) -> None:
        while True:
            pass

    async def sleep(self, task: Task) -> str:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            if task.input_data.get("swallow"):
                return "swallowed"
            await asyncio.sleep(0.05)
            raise
        return "slept"

    async def exit(self, task: Task) -> None:
        sys.stderr.write("last words\n")
        os._exit(3)

    async def call_exit(self, task: Task) -> None:
        sys.exit(7)

    async def die(self, task: Task) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    async def count(self, task: Task) -> None:
        while True:
            await asyncio.sleep(0.001)
            await self.context.progress(0.5)

    async def eat(self, task: Task) -> int:
        kept = []
        while True:
            kept.append(bytearray(8 << 20))
            await asyncio.sleep(0.001)

    async def set_result(self, task: Task) -> Any:
        return {"x": {1, 2}}

    async def big(self, task: Task) -> Any:
        size: Any = task.input_data["size"]
        return "x" * size

    async def fail(self, task: Task) -> None:
        raise CustomError("broken", 7)

    async def conflict(self, task: Task) -> None:
        raise VersionConflictError("key", 1, 2)

    async def interrupted(self, task: Task) -> None:
        raise TaskInterruptedError("later")


class CustomError(LookupError):
    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


# -- what it can do


def test_a_class_with_config_runs_in_a_process_of_its_own() -> None:
    async def main() -> None:
        async with agent(Everything, config={"k": [1]}) as handle:
            abilities = await handle.ready()
            assert (abilities.takes_tasks, abilities.takes_messages, abilities.hooks) == (True, False, frozenset())
            pid = handle.process_id
            assert pid != os.getpid()
            assert await execute(handle, task("pid")) == [pid, pid, "worker", "a1", {"k": [1]}]
            assert await execute(handle, task("echo", n=1, deep=[{"é": None}])) == {"n": 1, "deep": [{"é": None}]}
            usage = handle.usage()
            assert usage is not None and usage.memory_mb > 1 and usage.cpu_seconds > 0
        assert (await end_of(handle)).reason == "stopped"
        assert (await end_of(handle)).exit_code == 0
        assert handle.usage() is None

    run(main)


def test_functions_closures_and_objects_travel() -> None:
    factor = 3

    async def coroutine(task: Task) -> int:
        number: Any = task.input_data["n"]
        return int(number * factor)

    def plain(task: Task) -> list[Any]:
        number: Any = task.input_data["n"]
        return [number * factor, threading.current_thread() is threading.main_thread()]

    class Counter:
        def __init__(self, start: int) -> None:
            self.total = start

        def execute_task(self, task: Task) -> int:
            number: Any = task.input_data["n"]
            self.total += number
            return self.total

    async def main() -> None:
        async with agent(coroutine) as handle:
            assert await execute(handle, n=2) == 6
        async with agent(plain) as handle:
            assert await execute(handle, n=2) == [6, False]
        async with agent(Counter(10)) as handle:
            assert await execute(handle, n=1) == 11
            assert await execute(handle, n=1) == 12

    run(main)


def test_hooks_messages_and_errors_reach_the_agent() -> None:
    class Hooked(BaseAgent):
        async def on_start(self) -> None:
            self.seen: list[Any] = ["start"]

        async def on_message(self, message: AgentMessage) -> Any:
            self.seen.append(message.data)
            return {"from": message.sender_name, "seen": self.seen, "at": message.timestamp.isoformat()}

        async def on_pause(self) -> dict[str, Any]:
            return {"seen": self.seen}

        async def on_resume(self, state: dict[str, Any]) -> None:
            self.seen = [*state["seen"], "resumed"]

        async def on_error(self, error: BaseException, task: Task | None) -> None:
            assert task is not None
            self.seen.append([type(error).__name__, error.code, task.name])  # type: ignore[attr-defined]

        async def execute_task(self, task: Task) -> None:
            raise CustomError("broken", 7)

    async def main() -> None:
        async with agent(Hooked) as handle:
            assert (await handle.ready()).hooks == {"on_start", "on_pause", "on_resume", "on_error"}

            async def hook(name: str, argument: Any = None, of: Task | None = None) -> Any:
                return await handle.invoke(
                    Invocation(invocation_id=f"h{next(numbers)}", hook=name, argument=argument, task=of)
                )

            await hook("on_start")
            work = task("fragile")
            with pytest.raises(RemoteError) as caught:
                await execute(handle, work)
            await hook("on_error", caught.value, work)
            message = AgentMessage(
                message_id="m", sender_id="s", sender_name="S", message_type="say", data=5, timestamp=datetime.now(UTC)
            )
            answer = await hook("on_message", message)
            assert answer["from"] == "S" and answer["at"] == message.timestamp.isoformat()
            state = await hook("on_pause")
            assert state == {"seen": ["start", ["CustomError", 7, "fragile"], 5]}
            await hook("on_resume", {"seen": []})
            assert await hook("on_pause") == {"seen": ["resumed"]}

    run(main)


def test_errors_keep_their_class_name_bases_text_and_traceback() -> None:
    async def main() -> None:
        async with agent(Everything) as handle:
            with pytest.raises(RemoteError, match="broken") as caught:
                await execute(handle, task("fail"))
            error = caught.value
            assert error.error_type == "CustomError"
            assert error.error_bases[:3] == ("CustomError", "LookupError", "Exception")
            assert vars(error)["error_attributes"] == {"code": 7}
            assert 'raise CustomError("broken", 7)' in error.traceback_text

            with pytest.raises(VersionConflictError) as conflict:
                await execute(handle, task("conflict"))
            assert (conflict.value.key, conflict.value.expected, conflict.value.actual) == ("key", 1, 2)
            with pytest.raises(TaskInterruptedError, match="later"):
                await execute(handle, task("interrupted"))
            with pytest.raises(PayloadError, match=r"result\.x is a set"):
                await execute(handle, task("set_result"))
            assert await execute(handle, task("echo", n=1)) == {"n": 1}

    run(main)


def test_answers_up_to_the_limit_pass_and_larger_ones_are_refused_by_the_child() -> None:
    async def main() -> None:
        async with agent(Everything) as handle:
            text = "x" * ((10 << 20) - 11)  # with {"text":""} exactly the limit
            assert await execute(handle, task("echo", text=text)) == {"text": text}
            with pytest.raises(MessageTooLargeError):
                await execute(handle, task("echo", text=text + "x"))
            with pytest.raises(MessageTooLargeError) as caught:
                await execute(handle, task("big", size=11 << 20))
            assert caught.value.limit == 10 << 20
            assert await execute(handle, task("echo", n=1)) == {"n": 1}

    run(main)


def test_context_verbs_reach_the_runtime_with_their_invocation() -> None:
    async def talk(task: Task, context: Any) -> Any:
        await context.progress(0.5, "half")
        context.metrics.count("seen", 2)
        value = await context.shared.get("k", "none")
        done = await context.step("pay", lambda: {"paid": (1, 2)})
        child = await context.submit_task("child", {"n": 1}, not_before=None)
        try:
            await context.send_message(["x"], "say", {1})
        except ValueError as error:
            refused = f"{type(error).__name__}: {error}"
        try:
            await context.request("x", "say", None)
        except ConnectionError as error:
            dead = f"{type(error).__name__}: {error} {error.exit_code}"  # type: ignore[attr-defined]
        return [value, done, child, refused, dead, context.task.name]

    def fail(**_: Any) -> Any:
        raise DeadAgentError("Agent 'x' died", reason="died", exit_code=-9)

    async def main() -> None:
        from shoal.kernel.ports import Step

        link = FakeRuntime(
            progress=lambda **_: None,
            shared_get=lambda **_: None,
            step_load=lambda **_: None,
            step_record=lambda key, value: Step(key=key, value=value, at=datetime.now(UTC)),
            submit_task=lambda **_: "child-id",
            request=fail,
        )
        async with agent(talk, link) as handle:
            work = Invocation(invocation_id="i-talk", hook="execute_task", argument=task("talk"))
            assert await handle.invoke(work) == [
                "none",
                {"paid": [1, 2]},
                "child-id",
                "PayloadError: data is a set",
                "DeadAgentError: Agent 'x' died -9",
                "talk",
            ]
        assert {invocation for _, invocation, _ in link.calls} == {"i-talk"}
        assert link.calls[0] == ("progress", "i-talk", {"fraction": 0.5, "note": "half"})
        assert link.metrics == [("count", "seen", 2)]

    run(main)


def test_a_flood_of_calls_is_bounded_and_all_are_answered() -> None:
    async def flood(task: Task, context: Any) -> int:
        return len(await asyncio.gather(*(context.progress(0.1) for _ in range(5000))))

    async def main() -> None:
        open_calls = most = 0

        async def progress(**_: Any) -> None:
            nonlocal open_calls, most
            open_calls += 1
            most = max(most, open_calls)
            await asyncio.sleep(0)
            open_calls -= 1

        async with agent(flood, FakeRuntime(progress=progress)) as handle:
            assert await execute(handle) == 5000
        assert most <= 256

    run(main)


def test_a_call_that_nobody_waits_for_any_more_is_cancelled() -> None:
    async def wait(task: Task, context: Any) -> list[Any]:
        try:
            async with asyncio.timeout(0.05):
                await context.receive_messages(block=True)
        except TimeoutError:
            return ["timed out"]
        return []

    async def main() -> None:
        link = FakeRuntime(receive_messages=lambda **_: asyncio.sleep(600))
        async with agent(wait, link) as handle:
            assert await execute(handle) == ["timed out"]
            await until(lambda: link.cancelled == 1)

    run(main)


def test_is_stopping_becomes_true_in_coroutines_and_threads() -> None:
    async def coroutine(task: Task, context: Any) -> str:
        context.metrics.count("looking")
        while not context.is_stopping():
            pass  # never awaits
        return "saw it"

    def plain(task: Task, context: Any) -> str:
        context.metrics.count("looking")
        while not context.is_stopping():
            time.sleep(0.001)
        return "saw it"

    async def main() -> None:
        for source in (coroutine, plain):
            link = FakeRuntime()
            async with agent(source, link) as handle:
                running = asyncio.create_task(execute(handle))
                await until(partial(bool, link.metrics))
                link.stop = True
                assert await asyncio.wait_for(running, 5) == "saw it"

    run(main)


# -- cancelling, holding, freezing


def test_cancelling_an_invocation_ends_the_hook() -> None:
    async def main() -> None:
        async with agent(Everything) as handle:
            for swallow in (False, True):
                running = asyncio.create_task(execute(handle, task("sleep", swallow=swallow)))
                await execute(handle, task("echo"))
                running.cancel()
                if swallow:
                    assert await running == "swallowed"
                else:
                    with pytest.raises(asyncio.CancelledError):
                        await running
            assert await execute(handle, task("echo", n=1)) == {"n": 1}

    run(main)


def test_a_cancellation_that_comes_together_with_its_invocation_is_answered() -> None:
    async def main() -> None:
        async with agent(Everything) as handle:
            pid = handle.process_id
            assert pid is not None
            for swallow in (False, True):
                os.kill(pid, signal.SIGSTOP)  # so that it reads both in one go
                running = asyncio.create_task(execute(handle, task("sleep", swallow=swallow)))
                await asyncio.sleep(0.05)
                running.cancel()
                await asyncio.sleep(0.05)
                os.kill(pid, signal.SIGCONT)
                ended = await asyncio.wait_for(asyncio.gather(running, return_exceptions=True), 10)
                assert ended[0] == "swallowed" if swallow else isinstance(ended[0], asyncio.CancelledError)
            assert await execute(handle, task("echo", n=1)) == {"n": 1}

    run(main)


def test_a_thread_is_interrupted_on_demand() -> None:
    def spin(task: Task, context: Any) -> None:
        context.metrics.count("spinning")
        while True:
            pass

    async def main() -> None:
        link = FakeRuntime()
        async with agent(spin, link) as handle:
            invocation = Invocation(invocation_id="spin", hook="execute_task", argument=task())
            running = asyncio.create_task(handle.invoke(invocation))
            await until(lambda: link.metrics)
            running.cancel()
            await asyncio.sleep(0.05)
            assert not running.done()
            handle.interrupt("spin")
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(running, 5)

    run(main)


def test_hold_stops_coroutines_and_release_lets_them_go_on() -> None:
    async def main() -> None:
        link = FakeRuntime(progress=lambda **_: None)
        async with agent(Everything, link) as handle:
            running = asyncio.create_task(execute(handle, task("count")))
            await until(lambda: len(link.calls) > 10)
            await handle.hold(2)
            held = len(link.calls)
            await asyncio.sleep(0.2)
            assert len(link.calls) <= held + 1
            handle.release()
            await until(lambda: len(link.calls) > held + 10)
            running.cancel()
            await asyncio.wait([running])

    run(main)


def test_a_cpu_loop_cannot_be_held_but_frozen() -> None:
    async def main() -> None:
        async with agent(Everything) as handle:
            running = asyncio.create_task(execute(handle, task("spin")))

            def cpu() -> float:
                usage = handle.usage()
                assert usage is not None
                return usage.cpu_seconds

            before = cpu()
            await until(lambda: cpu() > before + 0.1)
            with pytest.raises(AgentPauseError):
                await handle.hold(0.2)
            await handle.freeze()
            frozen = cpu()
            await asyncio.sleep(0.3)
            assert cpu() <= frozen + 0.01
            handle.release()
            await until(lambda: cpu() > frozen + 0.1)
            await handle.stop(0.4)
            with pytest.raises(DeadAgentError):
                await running

    run(main)


# -- output


def test_output_is_relayed_as_lines_and_never_is_protocol() -> None:
    class Noisy:
        async def execute_task(self, task: Task) -> str:
            from shoal.boxes import wire

            print("one")
            print("[]")
            os.write(1, wire.encode_record(wire.Done(id="forged")) + bytes(range(256)) + b"\n")
            print("42", file=sys.stderr)
            os.system("echo from a child")
            print("no end", end="")
            return sys.stdin.read()

    async def main() -> None:
        lines: list[tuple[str, str]] = []
        callbacks = HostCallbacks(line=lambda stream, line: lines.append((stream, line)))
        async with agent(Noisy, options={"callbacks": callbacks}) as handle:
            assert await execute(handle) == ""
            assert ("stdout", "one\n") in lines and ("stderr", "42\n") in lines
            assert ("stdout", "from a child\n") in lines
        await end_of(handle)
        assert lines[-1] == ("stdout", "no end")
        assert any('{"type":"done","id":"forged"' in line for _, line in lines)

    run(main)


def test_lines_of_a_gigantic_line_come_in_parts() -> None:
    def shout(task: Task) -> int:
        sys.stdout.write("y" * 1_000_000 + "\n")
        return 1

    async def main() -> None:
        lines: list[str] = []
        async with agent(
            shout, options={"callbacks": HostCallbacks(line=lambda _, line: lines.append(line))}
        ) as handle:
            assert await execute(handle) == 1
        assert "".join(lines) == "y" * 1_000_000 + "\n"
        assert max(map(len, lines)) <= 64 * 1024 * 2

    run(main)


# -- ends


def test_exit_codes_and_last_words() -> None:
    async def main() -> None:
        for name, code, words in (("exit", 3, "last words\n"), ("die", -9, ""), ("call_exit", 7, "")):
            async with agent(Everything, options={"callbacks": HostCallbacks(line=lambda *_: None)}) as handle:
                other = asyncio.create_task(execute(handle, task("sleep")))
                began = time.monotonic()
                with pytest.raises(DeadAgentError) as caught:
                    await execute(handle, task(name))
                assert time.monotonic() - began < 1
                assert (caught.value.exit_code, caught.value.reason) == (code, "died")
                with pytest.raises(DeadAgentError):
                    await other
                end = await end_of(handle)
                assert (end.reason, end.exit_code, end.stderr_tail) == ("died", code, words)
                with pytest.raises(DeadAgentError):
                    await execute(handle)

    run(main)


def test_a_child_killed_from_outside_is_noticed_within_a_second_with_its_own_children() -> None:
    def parent(task: Task) -> int:
        return subprocess.Popen(["sleep", "600"]).pid

    async def main() -> None:
        async with agent(parent) as handle:
            grandchild = await execute(handle)
            assert handle.process_id is not None
            began = time.monotonic()
            os.kill(handle.process_id, signal.SIGKILL)
            assert (await end_of(handle)).exit_code == -9
            assert time.monotonic() - began < 1
            await until(lambda: not alive(grandchild))

    run(main)


def test_junk_on_its_own_channel_ends_that_child_only() -> None:
    async def attack(task: Task) -> None:
        os.write(100, b"\xff" * 100)
        await asyncio.sleep(600)

    async def main() -> None:
        async with agent(attack) as bad, agent(Everything) as good:
            with pytest.raises(DeadAgentError):
                await asyncio.wait_for(execute(bad), 5)
            assert "protocol: " in (await end_of(bad)).stderr_tail
            assert await execute(good, task("echo", n=1)) == {"n": 1}

    run(main)


def test_a_child_that_closes_its_channel_is_ended() -> None:
    async def leave(task: Task) -> None:
        os.close(100)
        while True:
            pass

    async def main() -> None:
        async with agent(leave) as handle:
            with pytest.raises(DeadAgentError):
                await asyncio.wait_for(execute(handle), 5)

    run(main)


def test_without_its_runtime_the_child_leaves_with_70() -> None:
    async def main() -> None:
        async with hosted() as host:
            handle = await host.start(spec(Everything), FakeRuntime())
            await handle.ready()
            running = asyncio.create_task(execute(handle, task("spin")))
            await asyncio.sleep(0.1)
            began = time.monotonic()
            handle._child.channel.close()  # type: ignore[attr-defined]  # as the kernel does for a dead runtime
            assert (await end_of(handle)).exit_code == 70
            assert time.monotonic() - began < 1
            await asyncio.wait([running])
            assert running.exception() is not None

    run(main)


RUNTIME = """
    import asyncio, os, sys
    from datetime import UTC, datetime
    from shoal.boxes.host import HostCallbacks, ChildHost
    from shoal.kernel.clock import RealClock
    from shoal.kernel.ports import Invocation, LaunchSpec
    from shoal.kernel.task import Task

    class Link:
        def is_stopping(self): return False

    async def busy(task):
        while True: pass

    def told(child): print(child.pid, child.pid_started, child.agent_id, flush=True)

    async def main():
        host = ChildHost(RealClock(), callbacks=HostCallbacks(adopted=told), warm_processes=1)
        known = {"agent_id": "a", "name": "n", "node_id": "n", "runtime_id": "r", "isolation": "process"}
        spec = LaunchSpec(source=busy, config={}, **known)
        handle = await host.start(spec, Link())
        await handle.ready()
        work = Task(task_id="t", name="t", created_at=datetime.now(UTC))
        await handle.invoke(Invocation(invocation_id="i", hook="execute_task", argument=work))

    asyncio.run(main())
"""


def test_children_of_a_killed_runtime_are_gone_within_a_second() -> None:
    runtime = subprocess.Popen([sys.executable, "-c", textwrap.dedent(RUNTIME)], stdout=subprocess.PIPE, text=True)
    assert runtime.stdout is not None
    with runtime.stdout as out:
        pids = {int(out.readline().split()[0]) for _ in range(3)}  # the agent, the agent again with its id, the spare
        assert len(pids) == 2
        time.sleep(0.2)
        runtime.kill()
        runtime.wait()
        deadline = time.monotonic() + 1
        while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not any(alive(pid) for pid in pids)


def test_an_orphan_is_killed_only_when_its_start_time_matches() -> None:
    orphan = subprocess.Popen(["sleep", "600"], start_new_session=True)
    stat = read_stat(orphan.pid)
    assert stat is not None
    assert not kill_orphan(orphan.pid, stat.started + 1)
    assert orphan.poll() is None
    assert kill_orphan(orphan.pid, stat.started)
    assert orphan.wait() == -9
    assert not kill_orphan(orphan.pid, stat.started)


def test_stop_asks_then_terminates_then_kills() -> None:
    class Stubborn(Everything):
        async def spin(self, task: Task) -> None:
            try:
                while True:
                    pass
            finally:
                print("finally ran", flush=True)

        async def deaf(self, task: Task) -> None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                pass

    async def main() -> None:
        lines: list[str] = []
        callbacks = HostCallbacks(line=lambda _, line: lines.append(line))
        for name, code in (("sleep", 0), ("spin", 143), ("deaf", -9)):
            async with agent(Stubborn, options={"callbacks": callbacks}) as handle:
                running = asyncio.create_task(execute(handle, task(name)))
                await asyncio.sleep(0.1)
                began = time.monotonic()
                await handle.stop(0.5)
                assert time.monotonic() - began < 2
                end = await end_of(handle)
                assert (end.reason, end.exit_code) == ("stopped", code)
                await asyncio.wait([running])
                assert running.cancelled() or running.exception() is not None
        assert "finally ran\n" in lines

    run(main)


# -- starting


def test_what_cannot_travel_is_named() -> None:
    lock = threading.Lock()

    class Holder:
        def __init__(self) -> None:
            self.inner = {"door": lock}

        async def execute_task(self, task: Task) -> None: ...

    async def uses(task: Task) -> None:
        lock.acquire()

    async def main() -> None:
        async with hosted() as host:
            for source, named in ((uses, "lock"), (Holder(), "inner.door")):
                with pytest.raises(ConfigError, match=named):
                    await host.start(spec(source), FakeRuntime())

    run(main)


def test_a_failing_constructor_is_a_start_error_with_its_cause() -> None:
    class Broken(BaseAgent):
        def __init__(self, config: dict[str, Any]) -> None:
            raise CustomError("no luck", 1)

        async def execute_task(self, task: Task) -> None: ...

    class Unloadable:
        async def execute_task(self, task: Task) -> None: ...

        def __reduce__(self) -> Any:
            return (int, ("no number",))

    async def main() -> None:
        async with hosted() as host:
            for source, text in ((Broken, "CustomError: no luck"), (Unloadable(), "could not be unpacked")):
                handle = await host.start(spec(source), FakeRuntime())
                with pytest.raises(AgentStartError, match=text) as caught:
                    await handle.ready()
                assert isinstance(caught.value.__cause__, RemoteError)
                await handle.stop(1)

    run(main)


def others(told: list[StartedChild], used: list[int | None]) -> list[StartedChild]:
    return [child for child in told if child.pid not in used]


def named(children: list[StartedChild], pid: int) -> bool:
    return any(child.pid == pid for child in children)


def test_spares_are_used_once_and_replaced() -> None:
    async def main() -> None:
        told: list[StartedChild] = []
        gone: list[StartedChild] = []
        callbacks = HostCallbacks(adopted=told.append, disowned=gone.append)
        async with hosted(warm_processes=1, callbacks=callbacks) as host:
            used = []
            for number in range(3):
                handle = await host.start(spec(Everything), FakeRuntime())
                await handle.ready()
                used.append(handle.process_id)
                spare = await until(partial(others, told, used))
                if number == 1:
                    os.kill(spare[-1].pid, signal.SIGKILL)
                    await until(partial(named, gone, spare[-1].pid))
                await handle.stop(1)
            assert len(set(used)) == 3
            assert used[1] in {child.pid for child in told if child.agent_id is None}
        assert {child.pid for child in told} == {child.pid for child in gone}

    run(main)


def test_eight_parallel_starts_five_times() -> None:
    async def main() -> None:
        async with hosted(warm_processes=1) as host:
            for _ in range(5):
                handles = await asyncio.gather(
                    *(host.start(spec(Everything, name=f"w{n}", agent_id=f"a{n}"), FakeRuntime()) for n in range(8))
                )
                await asyncio.wait_for(asyncio.gather(*(handle.ready() for handle in handles)), 30)
                answers = await asyncio.gather(*(execute(handle, task("pid")) for handle in handles))
                assert [answer[2] for answer in answers] == [f"w{n}" for n in range(8)]
                await asyncio.gather(*(handle.stop(2) for handle in handles))

    run(main)


def test_cancelling_a_start_at_any_time_leaves_nothing() -> None:
    async def main() -> None:
        told: list[StartedChild] = []
        gone: list[StartedChild] = []
        callbacks = HostCallbacks(adopted=told.append, disowned=gone.append)
        async with hosted(callbacks=callbacks) as host:
            for delay in (0, 0.001, 0.01, 0.05, 0.1):

                async def begin() -> None:
                    handle = await host.start(spec(Everything), FakeRuntime())
                    try:
                        await handle.ready()
                    finally:
                        await handle.stop(0.5)

                starting = asyncio.create_task(begin())
                await asyncio.sleep(delay)
                starting.cancel()
                await asyncio.wait([starting])
            await until(lambda: len(gone) * 2 == len(told))
        assert not any(alive(child.pid) for child in told)

    run(main)


def facts() -> tuple[int, int, int]:
    mine = os.getpid()
    children = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children += int(fields[1]) == mine
    return len(os.listdir("/proc/self/fd")), threading.active_count(), children


@pytest.mark.long
def test_two_hundred_cycles_leak_nothing(rounds: Callable[[int, int], int]) -> None:
    async def main() -> None:
        async with hosted(warm_processes=1) as host:

            async def cycle() -> None:
                handle = await host.start(spec(Everything), FakeRuntime())
                await handle.ready()
                await handle.stop(5)

            await cycle()
            before = None
            for _ in range(rounds(50, 15)):
                await asyncio.gather(*(cycle() for _ in range(4)))
                if before is None:
                    await asyncio.sleep(0.2)
                    before = facts()
            await until(lambda: facts() == before)
            assert len(asyncio.all_tasks()) == 1

    run(main)


# -- limits


def groups() -> set[str]:
    return {path.name for path in Path("/sys/fs/cgroup").rglob(f"shoal-{os.getpid()}-*")}


@pytest.mark.parametrize("held_by", ["group", "sampling"])
def test_memory_over_the_limit_ends_the_child_and_warns_before(held_by: str) -> None:
    async def main() -> None:
        warnings: list[LimitWarning] = []
        async with hosted(callbacks=HostCallbacks(warning=warnings.append)) as host:
            if held_by == "sampling":
                host._keeper = LimitKeeper(CLOCK, {})
            limits = ResourceLimit(max_memory_per_agent_mb=150)
            handle = await host.start(spec(Everything, limits=limits), FakeRuntime())
            await handle.ready()
            with pytest.raises(ResourceLimitExceededError) as caught:
                await execute(handle, task("eat"))
            assert (caught.value.resource_type, caught.value.limit) == ("memory_mb", 150)
            end = await end_of(handle)
            assert (end.reason, end.exit_code) == ("limit", -9)
            assert end.error is caught.value and end.error.agent_id == "a1"
        assert all(warning.resource_type == "memory_mb" for warning in warnings)
        assert not groups()

    run(main)


def test_cpu_seconds_over_the_limit_end_the_child() -> None:
    async def main() -> None:
        warnings: list[LimitWarning] = []
        callbacks = HostCallbacks(warning=warnings.append)
        async with agent(
            Everything, limits=ResourceLimit(max_cpu_time_per_agent_seconds=1.5), options={"callbacks": callbacks}
        ) as handle:
            with pytest.raises(ResourceLimitExceededError) as caught:
                await asyncio.wait_for(execute(handle, task("spin")), 20)
            assert caught.value.resource_type == "cpu_seconds"
            assert 1.5 < caught.value.current < 3.5
        assert [warning.resource_type for warning in warnings] == ["cpu_seconds"]

    run(main)


@pytest.mark.parametrize("held_by", ["group", "sampling"])
def test_cpu_percent_is_held(held_by: str) -> None:
    async def main() -> None:
        async with hosted() as host:
            if held_by == "sampling":
                host._keeper = LimitKeeper(CLOCK, {})
            limits = ResourceLimit(max_cpu_percent_per_agent=30)
            handle = await host.start(spec(Everything, limits=limits), FakeRuntime())
            await handle.ready()
            running = asyncio.create_task(execute(handle, task("spin")))
            await asyncio.sleep(0.5)
            first, began = handle.usage(), time.monotonic()
            await asyncio.sleep(2)
            second, seconds = handle.usage(), time.monotonic() - began
            assert first is not None and second is not None
            assert 0.15 < (second.cpu_seconds - first.cpu_seconds) / seconds < 0.45
            await handle.freeze()
            await handle.stop(0.2)
            await asyncio.wait([running])
            assert isinstance(running.exception(), DeadAgentError)
        assert not groups()

    run(main)


def test_what_an_orphan_itself_started_is_killed_with_it() -> None:
    script = (
        "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdout is not None and child.stdin is not None
    grandchild = int(child.stdout.readline())
    started = started_at(child.pid)
    child.kill()  # the leader alone, as its death signal does
    child.wait()
    child.stdout.close()
    child.stdin.close()
    assert read_stat(grandchild) is not None
    assert not kill_orphan(child.pid, started + 10**9), "a later start: not this child's session"
    assert kill_orphan(child.pid, started)
    deadline = time.monotonic() + 5
    while alive(grandchild) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(grandchild)
    assert not kill_orphan(child.pid, started)
