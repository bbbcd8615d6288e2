"""The part of the suite of boxes that is about their life: starts, ends, exit codes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from shoal.boxes import Box, BoxRuntime
from shoal.errors import (
    BoxExistsError,
    BoxStateError,
    RuntimeClosedError,
)
from shoal.testing.box_frame import BoxFrame, until

__all__ = ["LifeContract"]


class LifeContract(BoxFrame):
    """Starts and ends."""

    def test_one_name_is_one_box(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            made = await asyncio.gather(*(runtime.create_box("x") for _ in range(20)), return_exceptions=True)
            boxes = [one for one in made if isinstance(one, Box)]
            assert len(boxes) == 1 and [type(one) for one in made if one is not boxes[0]] == [BoxExistsError] * 19
            assert runtime.list_boxes() == ["x"] and dict(runtime.boxes) == {"x": boxes[0]}
            for bad in ("host", "", "a/b", "a" * 101, "ü", None):
                with pytest.raises(ValueError, match="name"):
                    await runtime.create_box(bad)  # type: ignore[arg-type]
            await runtime.remove_box("x")
            await runtime.create_box("x", auto_start=False)

        self.check(body)

    def test_wait_and_run_again(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            box = await runtime.create_box("box")
            with pytest.raises(BoxStateError, match="never run"):
                await box.wait()
            with pytest.raises(BoxStateError, match="No task or handlers registered"):
                await box.run()

            @box.task
            def main() -> int:
                from shoal_guest import stopping

                return int(stopping())

            for number in range(1, 1 + self.rounds(20, 4)):
                twice = await asyncio.gather(box.run(), box.run(), return_exceptions=True)
                assert [str(error) for error in twice if error] == ["Already running"]
                assert await box.wait() == 0
                assert (box.incarnation, box.state, box.result) == (number, "exited", 0)
            assert await box.wait() == 0

        self.check(body)

    def test_the_task_runs_before_the_handlers(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            box = await runtime.create_box("box")

            @box.on_message
            def handle(sender: str, data: Any) -> None:
                print("served")

            @box.task
            def main() -> None:

                time.sleep(0.3)
                print("task")

            await box.run()
            await runtime.request("box", 1)
            assert self.texts(box.logs("stdout")) == ["task", "served"]

        self.check(body)

    def test_eight_starts_at_once(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            for _ in range(self.rounds(50, 3)):
                boxes = await asyncio.gather(*(runtime.create_box(f"b{n}") for n in range(8)))
                assert [box.state for box in boxes] == ["ready"] * 8
                await asyncio.gather(*(runtime.remove_box(box.name) for box in boxes))

        self.check(body)

    def test_cancelling_leaves_nothing_behind(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            for step in range(self.rounds(60, 12)):
                creating = asyncio.create_task(runtime.create_box("x"))
                for _ in range(step):
                    await asyncio.sleep(0.001)
                creating.cancel()
                end = (await asyncio.gather(creating, return_exceptions=True))[0]
                if isinstance(end, Box):
                    await runtime.remove_box("x")
                assert runtime.list_boxes() == []
            box = await runtime.create_box("box")

            @box.on_message
            def handle(sender: str, data: Any) -> Any:
                return data

            await box.run()
            for step in range(20):
                asking = asyncio.create_task(runtime.request("box", step))
                for _ in range(step % 5):
                    await asyncio.sleep(0)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
                waiting = asyncio.create_task(box.wait())
                await asyncio.sleep(0)
                waiting.cancel()
            assert await runtime.request("box", "still there") == "still there"
            await until(lambda: box.stats().mailbox == 0)

        self.check(body)

    def test_two_runtimes_do_not_see_each_other(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            async with self.runtime() as other:
                for one in (runtime, other):
                    box = await one.create_box("box")

                    def install(box: Box, word: str) -> None:
                        @box.on_message
                        def handle(sender: str, data: Any) -> Any:
                            from shoal_guest import publish_event

                            return [word, publish_event("news")]

                        @box.on_event("news")
                        def hear(data: Any) -> None:
                            print(word)

                    install(box, "first" if one is runtime else "second")
                    await box.run()
                assert await runtime.request("box", 1) == ["first", 0]
                assert await other.request("box", 1) == ["second", 0]
            assert await runtime.request("box", 1) == ["first", 0]

        self.check(body)

    def test_a_closed_runtime_takes_nothing(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            box = await runtime.create_box("box")
            await runtime.shutdown()
            await runtime.shutdown()
            assert box.state == "exited"
            with pytest.raises(RuntimeClosedError):
                await runtime.create_box("y")
            with pytest.raises(RuntimeClosedError):
                await runtime.request("box", 1)

        self.check(body)
