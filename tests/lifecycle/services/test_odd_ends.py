"""Requests that end at odd moments: given up as they begin, answered as they are given up, asked of a node that is lost."""

from __future__ import annotations

import asyncio
from typing import Any

from shoal.services import RequestError
from tests.lifecycle.services.test_nodes import known, pair
from tests.support.runtimes import running, until
from tests.support.servers import Echo


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
