"""Many services in one process: started, failing, and ended together."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime
from shoal.services import InfoError, MultiAgentProcess, RequestError, ServiceAgent
from shoal.testing.clock import VirtualClock, run_virtual
from tests.support.processes import script
from tests.support.runtimes import running, until

Run = Callable[..., Any]
PROGRAMS = Path(__file__).with_name("process_programs.py")


class Named(ServiceAgent):
    """Answers with its thread; its constructor takes its options by name."""

    def info(self) -> dict[str, Any]:
        return {"name": self.config.get("name", "named"), "capabilities": ["work"]}

    def process_request(self, payload: dict[str, Any]) -> Any:
        return {"name": self.config.get("name"), "n": payload.get("n")}


class OnItsLoop(Named):
    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        if payload.get("die"):
            asyncio.get_running_loop().stop()  # ends its thread
            await asyncio.sleep(60)
        if payload.get("block"):
            time.sleep(payload["block"])
        await asyncio.sleep(payload.get("seconds", 0))
        return {"thread": threading.current_thread().name}


class NeverUp(Named):
    """Cannot be started, or not before the given time."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.starts: list[float] = []

    async def on_start(self) -> None:
        self.starts.append(asyncio.get_running_loop().time())
        if len(self.starts) <= self.config.get("failures", 1000):
            raise OSError("no such device")


@pytest.mark.spec("S10")
@pytest.mark.parametrize("isolation", ["inline", "thread"])
def test_the_end_of_one_of_three_leaves_the_other_two(store_url: str, run: Run, isolation: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            group = MultiAgentProcess(runtime, isolation=isolation)
            made = [group.add_agent(Named, {"name": name}) for name in ("one", "two", "three")]
            assert group.agents == tuple(made)
            assert await group.start_all() is group
            await made[1].shutdown()
            for n in range(100):
                name = ("one", "three")[n % 2]
                assert await runtime.services.request(name, {"n": n}) == {"name": name, "n": n}
            await until(lambda: len(runtime.services.records()) == 2)
            with pytest.raises(RequestError, match="NOT_FOUND"):
                await runtime.services.request("two", {})
            await group.stop_all()
            assert runtime.services.records() == []
            await group.stop_all()

    run(main)


def test_threads_of_their_own_hold_up_nobody_and_come_back(
    store_url: str, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            group = MultiAgentProcess(runtime, isolation="thread")
            for name in ("blocks", "goes on"):
                group.add_agent(OnItsLoop({"name": name}))
            await group.start_all()
            ask = runtime.services.request
            held = asyncio.create_task(ask("blocks", {"block": 0.5}))
            threads = {(await ask("goes on", {}))["thread"] for _ in range(5)}
            assert not held.done() and threads.isdisjoint({(await held)["thread"]})
            with pytest.raises(RequestError, match="AGENT_DIED"):
                await ask("blocks", {"die": True})
            assert (await ask("goes on", {}))["thread"] in threads
            await until(lambda: [agent.restart_count for agent in runtime.list_agents("running")] == [1, 0])
            assert "blocks" in (await ask("blocks", {}))["thread"]
            await group.stop_all()

    with caplog.at_level(logging.ERROR, "shoal.services"):
        run(main)
    assert [r.message.partition(":")[0] for r in caplog.records] == ["Agent blocks failed"]


def test_one_that_does_not_come_up_is_tried_again_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    async def main(clock: VirtualClock) -> None:
        async with AgentRuntime(store="sqlite://:memory:", clock=clock) as runtime:
            group = MultiAgentProcess(runtime)
            never, late, other = (
                group.add_agent(NeverUp({"name": "never"})),
                group.add_agent(NeverUp({"name": "late", "failures": 2})),
                group.add_agent(Named, {"name": "other"}),
            )
            began = clock.monotonic()
            await group.start_all()
            assert clock.monotonic() - began < 0.1
            assert await runtime.services.request("other", {"n": 1}) == {"name": "other", "n": 1}
            await clock.sleep(0.35)
            assert await runtime.services.request("late", {}) == {"name": "late", "n": None}
            await clock.sleep(100)
            assert isinstance(never, NeverUp) and isinstance(late, NeverUp)
            pauses = [after - before for before, after in pairwise(never.starts)]
            assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6]) and len(late.starts) == 3
            assert [record.name for record in runtime.services.records()] == ["other", "late"]
            await group.stop_all()
            assert other.registered

    with caplog.at_level(logging.ERROR, "shoal.services"):
        run_virtual(main)
    said = [record.message for record in caplog.records]
    assert said[0].startswith("Agent never failed: ") and "no such device" in said[0]
    assert said[-1] == "Agent never stays failed: it was started too often"


def test_a_stop_lets_what_was_accepted_be_finished_and_cuts_the_rest_short(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            group = MultiAgentProcess(runtime)
            for name in ("short", "long"):
                group.add_agent(OnItsLoop, {"name": name})
            await group.start_all()
            short = asyncio.create_task(runtime.services.request("short", {"seconds": 0.2}))
            long = asyncio.create_task(runtime.services.request("long", {"seconds": 60}, timeout=100))
            await until(lambda: all(record.load for record in runtime.services.records()))
            with pytest.raises(ValueError, match="grace"):
                await group.stop_all(-1)
            await asyncio.gather(group.stop_all(grace=0.5), group.stop_all(grace=0.5))
            assert (await short)["thread"] == "MainThread"
            with pytest.raises(RequestError, match="CANCELLED"):
                await long

    run(main)


def test_bad_input_is_told_before_anything_is_started(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            with pytest.raises(ValueError, match="isolation"):
                MultiAgentProcess(runtime, isolation="jail")  # type: ignore[arg-type]
            group = MultiAgentProcess(runtime)
            for wrong in (ServiceAgent, int, "worker", None):
                with pytest.raises(InfoError):
                    group.add_agent(wrong)  # type: ignore[arg-type]
            agent = group.add_agent(Named())
            with pytest.raises(ValueError, match="added already"):
                group.add_agent(agent)
            with pytest.raises(ValueError, match="options"):
                group.add_agent(Named(), {"name": "x"})
            assert group.agents == (agent,) and runtime.services.records() == []

            def in_a_thread() -> None:
                asyncio.run(MultiAgentProcess(runtime).wait_for_shutdown())

            with pytest.raises(RuntimeError, match="main thread"):
                await asyncio.to_thread(in_a_thread)

    run(main)


def test_waiting_ends_with_the_last_agent(store_url: str, run: Run) -> None:
    async def main() -> None:
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        async with running(store_url) as runtime:
            group = MultiAgentProcess(runtime)
            agents = [group.add_agent(Named, {"name": name}) for name in ("one", "two")]
            await group.start_all()
            waiting = asyncio.create_task(group.wait_for_shutdown())
            await agents[0].shutdown()
            await until(lambda: len(runtime.services.records()) == 1)
            assert not waiting.done()
            await agents[1].shutdown()
            await waiting
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before

    run(main)


@pytest.mark.spec("S44")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_two_groups_on_two_runtimes_share_nothing_and_one_signal_ends_both_once(
    number: signal.Signals, store_url: str
) -> None:
    with script(PROGRAMS, "two", store_url, "0.5") as program:
        said = [program.hear(), program.hear()]
        assert {"names": [["slow"], ["slow"]]} in said
        program.signal(number)
        rest = [program.hear() for _ in range(3)]
        assert rest[0] == {"stopped": 0}, "that one had nothing to do"
        assert rest[1:] == [{"stopped": 1}, {"answer": {"done": True}}], "the other finished what it had accepted"
        assert program.process.wait(20) == 0
        assert program.process.stdout is not None and program.process.stdout.read() == b""


@pytest.mark.spec("S49")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_process_at_once(number: signal.Signals, tmp_path: Path) -> None:
    with script(PROGRAMS, "two", str(tmp_path / "shoal.db"), "60") as program:
        program.hear(), program.hear()
        program.signal(signal.SIGTERM)
        assert program.hear() == {"stopped": 0}, "it drains"
        program.signal(number)
        assert program.process.wait(5) == 128 + number
