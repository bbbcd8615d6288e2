"""What the kernel offers to wings: verbs, orders beside all work, drains, threads that are lent, questions that are kept."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from shoal.errors import AgentStateError, DeadAgentError, NoHandlerError
from shoal.kernel.agent import RestartPolicy
from shoal.kernel.message import AgentMessage
from shoal.kernel.threads import DaemonPool, lent_thread
from tests.support.runtimes import running, until

LEVELS = ("inline", "thread", "process")


class Worker:
    def __init__(self) -> None:
        self.orders: list[Any] = []

    async def on_message(self, message: AgentMessage) -> Any:
        if message.data == "verb":
            return await self.context._call("tests.double", {"n": 21})  # type: ignore[attr-defined]
        await asyncio.sleep(message.data)
        return {"done": message.data, "orders": self.orders}

    async def on_control(self, order: dict[str, Any]) -> dict[str, Any]:
        self.orders.append(order)
        return {"got": order}


class Plain:
    async def on_message(self, message: AgentMessage) -> Any:
        return message.data


@pytest.mark.parametrize("isolation", LEVELS)
def test_an_agent_calls_the_verb_of_a_wing(store_url: str, run: Any, isolation: Any) -> None:
    async def double(cell: Any, entry: Any, n: int) -> dict[str, Any]:
        return {"n": 2 * n, "by": cell.name, "within": entry is not None}

    async def main() -> None:
        async with running(store_url, {"worker": Worker}, options={"isolation": isolation}) as runtime:
            runtime.mail.env.verbs["tests.double"] = double
            answer = await runtime.request("worker", "ask", "verb")
            assert answer.data == {"n": 42, "by": "worker", "within": True}

    run(main)


@pytest.mark.parametrize("isolation", LEVELS)
def test_an_order_is_answered_in_a_pause_and_beside_messages(store_url: str, run: Any, isolation: Any) -> None:
    async def main() -> None:
        async with running(store_url, {"worker": Worker}, options={"isolation": isolation}) as runtime:
            busy = asyncio.ensure_future(runtime.request("worker", "work", 0.2))
            await asyncio.sleep(0.05)
            assert await runtime.agents.control("worker", {"a": 1}) == {"got": {"a": 1}}
            assert not busy.done()
            await runtime.pause_agent("worker")
            assert await runtime.agents.control("worker", {"a": 2}) == {"got": {"a": 2}}
            await runtime.resume_agent("worker")
            assert (await busy).data["orders"] == [{"a": 1}, {"a": 2}]
            await runtime.stop_agent("worker")
            with pytest.raises(AgentStateError, match="cannot control a stopped agent"):
                await runtime.agents.control("worker", {})

    run(main)


def test_an_agent_without_the_hook_says_so(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url, {"plain": Plain}) as runtime:
            with pytest.raises(NoHandlerError, match="has no on_control"):
                await runtime.agents.control("plain", {})

    run(main)


def test_a_drain_lets_chains_in_and_ends_the_agent(store_url: str, run: Any) -> None:
    class There:
        async def on_message(self, message: AgentMessage) -> Any:
            if message.data == "back":
                return "chained"
            await asyncio.sleep(0.1)
            return (await self.context.request("back", "go", None)).data  # type: ignore[attr-defined]

    class Back:
        async def on_message(self, message: AgentMessage) -> Any:
            return (await self.context.request("there", "go", "back")).data  # type: ignore[attr-defined]

    async def main() -> None:
        async with running(store_url, {"there": There, "back": Back}) as runtime:
            asked = asyncio.ensure_future(runtime.request("there", "go", "start"))
            await asyncio.sleep(0.02)
            draining = asyncio.ensure_future(runtime.agents.drain("there", 10))
            await asyncio.sleep(0.02)
            with pytest.raises(DeadAgentError) as error:
                await runtime.request("there", "go", "new")
            assert (error.value.reason, error.value.began) == ("draining", False)
            assert (await asked).data == "chained"
            await draining
            assert runtime.get_agent_status("there").status == "stopped"

    run(main)


def test_questions_stored_in_a_pause_fail_when_nobody_starts_it_again(store_url: str, run: Any) -> None:
    async def main() -> None:
        never = {"isolation": "process", "restart": RestartPolicy(mode="never")}
        async with running(store_url, {"plain": Plain}, options=never) as runtime:
            await runtime.pause_agent("plain")
            asked = asyncio.ensure_future(runtime.request("plain", "ask", 1))
            await until(lambda: runtime.agents.get("plain").mailbox_size == 1)
            pid = runtime.agents.get("plain").process_id
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(DeadAgentError) as error:
                await asked
            assert (error.value.reason, error.value.exit_code, error.value.began) == ("died", -9, False)
            assert not runtime.mail.env.bus.has(runtime.agents.get("plain").agent_id)

    run(main)


def test_a_question_given_up_between_two_lives_is_not_handled(store_url: str, run: Any) -> None:
    async def main() -> None:
        slow = {"isolation": "process", "restart": RestartPolicy(initial_seconds=0.3)}
        async with running(store_url, {"worker": Worker}, options=slow) as runtime:
            await runtime.pause_agent("worker")
            first, kept = (asyncio.ensure_future(runtime.request("worker", "ask", n)) for n in (0.5, 0))
            await until(lambda: runtime.agents.get("worker").mailbox_size == 2)
            pid = runtime.agents.get("worker").process_id
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(lambda: runtime.agents.get("worker").status == "failed")
            first.cancel()
            began = asyncio.get_running_loop().time()
            assert (await kept).data["done"] == 0
            assert asyncio.get_running_loop().time() - began < 5
            await runtime.stop_agent("worker")

    run(main)


def test_a_thread_that_waits_lends_its_place() -> None:
    pool = DaemonPool(1)

    def outer() -> int:
        with lent_thread():
            return pool.submit(lambda: 7).result(5)

    assert pool.submit(outer).result(5) == 7
    with lent_thread():
        assert pool.submit(lambda: 8).result(5) == 8
    pool.shutdown()
