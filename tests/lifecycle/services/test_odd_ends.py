"""Requests that end at odd moments: given up as they begin, answered as they are given up, asked of a node that is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shoal.services import RequestError
from tests.lifecycle.services.test_nodes import known, pair
from tests.support.runtimes import running, until
from tests.support.servers import Asker, Echo


def test_a_request_that_is_given_up_as_its_handler_begins_keeps_no_place(store_url: str, run: Any) -> None:
    class Two(Echo):
        concurrency = 2
        most = now = 0

        async def process_request(self, payload: dict[str, Any]) -> Any:
            self.now += 1
            Two.most = max(self.most, self.now)
            try:
                if payload["n"] == 0:
                    await go_on.wait()
                    asked[2].cancel()  # its handler is to begin when this one has ended: in the same turn of the loop
                else:
                    await asyncio.sleep(0.05)
            finally:
                self.now -= 1
            return {"n": payload["n"]}

    asked: list[asyncio.Future[Any]] = []
    go_on = asyncio.Event()

    async def main() -> None:
        async with running(store_url) as runtime:
            record = await runtime.services.start(Two)
            asked.extend(asyncio.ensure_future(runtime.services.request(record, {"n": n})) for n in (0, 1, 2))
            await asyncio.sleep(0.01)
            go_on.set()
            ends = await asyncio.gather(*asked, return_exceptions=True)
            assert ends[:2] == [{"n": 0}, {"n": 1}] and isinstance(ends[2], asyncio.CancelledError)
            status = await runtime.services.control(record, "status")
            assert (status["in_flight"], status["queued"], status["requests"]) == (0, 0, 2)
            Two.most = 0
            await asyncio.gather(*(runtime.services.request(record, {"n": n}, timeout=5) for n in range(1, 5)))
            assert Two.most == 2, "both places are there"

    run(main)


def test_an_error_that_comes_as_its_asker_is_cancelled_belongs_to_nobody(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            await runtime.services.start(Echo)
            node = runtime.services.node
            (registration,) = node.registrations.values()
            cell = registration.cell
            assert cell is not None
            message = node.post.writing.question(None, cell.agent_id, "request", {}, 5.0)
            answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

            async def asking() -> Any:
                return await answer

            waiting = asyncio.ensure_future(node.post.asking.probes.guarded(cell.outside(), message, asking()))
            await asyncio.sleep(0.01)
            answer.set_exception(RequestError("LATE", "it comes in the very moment"))
            waiting.cancel()
            await asyncio.wait([waiting])
            assert waiting.cancelled()

    run(main)  # which fails when the loop was told of an error that nobody awaited


def test_a_paused_agent_whose_node_was_given_up_is_dead_to_who_asks(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with pair(store_url) as (one, other):
            echo = await one.services.start(Echo)
            await known(other, "echo", 1)
            await one.services.control(echo, "pause")
            await other.store.leases.rescue([one.node_id], now=other.services.node.env.clock.now(), max_interruptions=1)
            assert not one.services.node.env.lost, "it has not heard of it yet"
            ended = await asyncio.gather(other.services.request(echo, {"n": 1}), return_exceptions=True)
            assert isinstance(ended[0], RequestError) and ended[0].code == "AGENT_DIED"
            assert ended[0].details["began"] is False
            await until(lambda: one.services.node.env.lost)

    run(main)


@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_an_answer_that_is_too_large_to_be_sent_is_heard_of_at_once(store_url: str, run: Any, isolation: Any) -> None:
    class Verbose(Echo):
        async def process_request(self, payload: dict[str, Any]) -> None:
            self.send_response(text="x" * payload["n"])
            await asyncio.sleep(30)

    async def main() -> None:
        async with running(store_url, max_payload_mb=1) as runtime:
            record = await runtime.services.start(Verbose, isolation=isolation)
            async with asyncio.timeout(10):
                with pytest.raises(RequestError, match="EXECUTION_ERROR: the answer cannot be sent"):
                    await runtime.services.request(record, {"n": 2_000_000}, timeout=20)
            await runtime.services.stop(record.instance, 0)

    run(main)


def test_who_waits_for_a_node_that_is_given_up_hears_it_at_once(store_url: str, run: Any) -> None:
    """A frozen process keeps its connections: nothing but its lease tells that no answer comes."""

    class Held(Echo):
        async def process_request(self, payload: dict[str, Any]) -> None:
            await asyncio.sleep(60)

    async def main() -> None:
        async with pair(store_url) as (one, other):
            held = await one.services.start(Held)
            await known(other, "echo", 1)
            await other.services.start(Asker)
            one.services.node.maintenance.stop()
            one.services.node._lose = lambda: None  # type: ignore[method-assign]  # as if it were frozen: it hears of nothing
            waiting = [
                asyncio.ensure_future(other.services.request(held, {"n": 1}, timeout=30)),
                asyncio.ensure_future(other.services.request("asker", {"target": "echo", "payload": {}}, timeout=30)),
            ]
            await asyncio.sleep(0.2)
            now = other.services.node.env.clock.now()
            await other.store.leases.rescue([one.node_id], now=now, max_interruptions=1)
            async with asyncio.timeout(10):
                ends = await asyncio.gather(*waiting, return_exceptions=True)
            assert [getattr(end, "code", end) for end in ends] == ["AGENT_DIED", "AGENT_DIED"]
            async with asyncio.timeout(1):
                with pytest.raises(RequestError, match="AGENT_DIED"):
                    await other.services.request(held, {"n": 1}, timeout=30)
            del one.services.node._lose
            one.services.node._lose()

    run(main)
