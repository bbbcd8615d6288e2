"""A node that is cut off past its lease goes on with none of its runs until it is known that it still holds them.

Whoever finds its lease over may take a run up, also when the node renews that lease a moment later and is not given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shoal import AgentRuntime, get_lock
from shoal.errors import LeaseLostError
from shoal.kernel.ports import Hold, RunWrite
from shoal.kernel.run import RunStatus
from shoal.kernel.runhandle import RunHandle
from shoal.kernel.stillness import nearly_over
from tests.lifecycle.nodes.cut_off import HELD_BACK, LEASE, WORDS, Errand, Scene
from tests.support.cuts import Cut, HeldBack, env_of
from tests.support.runtimes import until

Run = Callable[..., Any]


async def _renewed(runtime: AgentRuntime) -> None:
    await until(lambda: not env_of(runtime).lease_over())


async def _held_back(scene: Scene, what: str) -> tuple[HeldBack, RunHandle[Any], Cut]:
    """Begin an errand; return the answer that is held back, the run and what cuts the node, once its lease is over."""
    answer = scene.held_back(what)
    handle = scene.node.run(Errand("node", scene.said), "go", run_id="r")
    await answer.done.wait()
    cut = Cut(scene.node)
    await cut.until_over()
    return answer, handle, cut


@pytest.mark.parametrize("ends", ["renewed", "lost"])
@pytest.mark.parametrize("what", HELD_BACK)
def test_an_answer_that_comes_when_another_node_has_the_run(store_url: str, run: Run, what: str, ends: str) -> None:
    said: list[str] = []

    async def main() -> None:
        async with Scene(store_url, said) as scene:
            answer, handle, cut = await _held_back(scene, what)
            await scene.taken_up()
            if ends == "lost":
                cut.answer = False
                await until(lambda: cut.env.lost)
            cut.heal()
            if ends == "renewed":
                await _renewed(scene.node)
            answer.free.set()
            with pytest.raises(LeaseLostError):
                await handle
            assert scene.node.runs.get("r").status is RunStatus.COMPLETED
        assert scene.by("node") == WORDS[: HELD_BACK[what][2]], "a late answer is no leave to go on"
        assert scene.by("other")[-1] == "went on"

    run(main)


@pytest.mark.parametrize("what", HELD_BACK)
def test_an_answer_after_the_lease_waits_until_that_is_renewed(store_url: str, run: Run, what: str) -> None:
    said: list[str] = []

    async def main() -> None:
        async with Scene(store_url, said) as scene:
            answer, handle, cut = await _held_back(scene, what)
            answer.free.set()
            await asyncio.sleep(LEASE / 4)
            assert scene.by("node") == WORDS[: HELD_BACK[what][2]]
            cut.heal()
            assert await handle == "done"
            assert scene.node.runs.get("r").usage.lost_calls == 0
        assert scene.by("node") == WORDS, "each once"

    run(main)


def test_code_between_two_steps_when_another_node_has_the_run(store_url: str, run: Run) -> None:
    said: list[str] = []

    async def main() -> None:
        at_rest, awake = asyncio.Event(), asyncio.Event()

        async def rest() -> None:
            at_rest.set()
            await awake.wait()

        async with Scene(store_url, said) as scene:
            handle = scene.node.run(Errand("node", said, rest), "go", run_id="r")
            await at_rest.wait()
            cut = Cut(scene.node)
            await cut.until_over()
            await scene.taken_up()
            cut.heal()
            await _renewed(scene.node)
            awake.set()
            with pytest.raises(LeaseLostError):
                await handle
        assert scene.by("node") == WORDS[:7], "that its lease holds again says nothing about the run"
        assert [word for word in said if "called last" in word] == ["other called last"]

    run(main)


def test_no_step_begins_when_the_lease_is_nearly_over(store_url: str, run: Run) -> None:
    said: list[str] = []

    async def main() -> None:
        async with Scene(store_url, said, 4 * LEASE) as scene:
            cuts: list[Cut] = []

            async def rest() -> None:
                cut = Cut(scene.node)
                await until(lambda: nearly_over(cut.env))
                assert not cut.env.lease_over()
                cuts.append(cut)

            handle = scene.node.run(Errand("node", said, rest), "go", run_id="r")
            await until(lambda: cuts)
            await cuts[0].until_over()
            assert scene.by("node") == WORDS[:7]
            cuts[0].heal()
            assert await handle == "done"
        assert scene.by("node") == WORDS

    run(main)


@pytest.mark.parametrize("what", ["begin", "intent", "result", "reserve"])
def test_a_node_that_stops_does_not_wait_for_its_lease(
    store_url: str, run: Run, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []

    async def main() -> None:
        async with Scene(store_url, said) as scene:
            answer, handle, cut = await _held_back(scene, what)
            answer.free.set()
            await asyncio.sleep(0)
            await scene.node.stop()
            with pytest.raises(asyncio.CancelledError):
                await handle
            cut.heal()
            record = scene.other.runs.get("r")
            assert (record.status, record.node_id, record.usage.lost_calls) == (RunStatus.INTERRUPTED, None, 0)
        assert scene.by("node") == WORDS[: HELD_BACK[what][2]]

    run(main)
    assert "do not end when they are interrupted" not in caplog.text


def test_a_lock_that_a_run_hears_of_late(store_url: str, run: Run) -> None:
    said: list[str] = []

    async def main() -> None:
        async with Scene(store_url, said) as scene:
            answer = HeldBack(env_of(scene.node).store.leases, "acquire")

            async def rest() -> None:
                async with get_lock("cut off", "lock", 30.0, ttl=60.0):
                    said.append("node has the lock")

            handle = scene.node.run(Errand("node", said, rest), "go", run_id="r")
            await answer.done.wait()
            cut = Cut(scene.node)
            await cut.until_over()
            answer.free.set()
            await asyncio.sleep(LEASE / 4)
            assert scene.by("node") == WORDS[:7]
            cut.heal()
            assert await handle == "done"
        assert scene.by("node") == [*WORDS[:7], "has the lock", *WORDS[7:]]

    run(main)


def test_the_end_of_a_run_counts_whenever_its_answer_comes(store_url: str, run: Run) -> None:
    said: list[str] = []

    async def main() -> None:
        async with Scene(store_url, said) as scene:
            answer = HeldBack(env_of(scene.node).store.runs, "end")
            handle = scene.node.run(Errand("node", said), "go", run_id="r")
            await answer.done.wait()
            cut = Cut(scene.node)
            await cut.until_over()
            await scene.taken_up()  # returns what is on record
            answer.free.set()
            assert await handle == "done"
            cut.heal()
        assert scene.by("node") == WORDS and not scene.by("other")

    run(main)


@pytest.mark.parametrize("pause", [0.0, 2 * LEASE])
def test_the_store_is_asked_only_after_a_quiet_lease(store_url: str, run: Run, pause: float) -> None:
    said: list[str] = []
    asked: list[RunWrite] = []

    def nothing(hold: Hold, write: RunWrite) -> bool:
        asked.append(write)
        return False

    async def main() -> None:
        async with Scene(store_url, said) as scene:
            HeldBack(env_of(scene.node).store.runs, "write", nothing)
            errand = Errand("node", said, lambda: asyncio.sleep(pause))
            assert await scene.node.run(errand, "go", run_id="r") == "done"
        assert asked.count(RunWrite()) == (1 if pause else 0)

    run(main)
