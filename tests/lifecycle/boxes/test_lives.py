"""Boxes that are removed, stopped or shut down at awkward moments: nothing starts afterwards, nobody is cancelled by it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from shoal.boxes import BoxRuntime, BoxSpec
from shoal.errors import BoxError, BoxStartError, BoxStateError, RuntimeClosedError
from tests.support.levels import need

Run = Callable[..., Any]
SECONDS = 30


@pytest.mark.parametrize("level", ["process", "bubblewrap"])
def test_a_box_does_not_outlive_its_runtime(run: Run, level: str) -> None:
    need(level)

    async def main() -> None:
        async with BoxRuntime(level, logs="none") as runtime:
            box = await runtime.create_box("box")
            fresh = await runtime.create_box("fresh", auto_start=False)
            box.on_message(lambda sender, data: data)
        for start in (box.start, box.run, fresh.start, lambda: box.exec("true"), lambda: box.run_script(__file__)):
            with pytest.raises(RuntimeClosedError):
                await start()
        assert box.state == "exited" and box.stats().pid is None

    run(main, timeout=SECONDS)


def test_a_removed_box_starts_no_more_and_leaves_its_successor_alone(run: Run) -> None:
    async def main() -> None:
        async with BoxRuntime("process", logs="none") as runtime:
            old = await runtime.create_box("box")
            old.on_message(lambda sender, data: "old")
            await runtime.remove_box("box")
            new = await runtime.create_box("box")
            new.on_message(lambda sender, data: "new")
            await new.run()
            for start in (old.run, lambda: old.exec("true")):
                with pytest.raises(BoxStateError, match="'box' was removed"):
                    await start()
            assert await runtime.request("box", None) == "new"

    run(main, timeout=SECONDS)


@pytest.mark.parametrize("turns", [1, 5, 30])
@pytest.mark.parametrize("end", ["stop_all", "remove_box", "shutdown"])
def test_who_makes_a_box_that_is_ended_meanwhile_is_told_so_and_not_cancelled(run: Run, end: str, turns: int) -> None:
    async def main() -> None:
        runtime = BoxRuntime("process", logs="none")
        async with runtime:
            ends: dict[str, Callable[[], Awaitable[None]]] = {
                "stop_all": runtime.stop_all,
                "remove_box": lambda: runtime.remove_box("box"),
                "shutdown": runtime.shutdown,
            }
            making = asyncio.create_task(runtime.create_box("box"))
            for _ in range(turns):
                await asyncio.sleep(0)
            await ends[end]()
            await asyncio.wait([making])
            assert not making.cancelled()
            error = making.exception()
            if error is not None:
                assert isinstance(error, RuntimeClosedError if end == "shutdown" else BoxError), error
                assert runtime.list_boxes() == []
        if error is None:
            assert making.result().state == "exited"

    run(main, timeout=SECONDS)


def test_a_start_after_one_that_was_given_up_begins_anew(run: Run) -> None:
    async def main() -> None:
        async with BoxRuntime("process", logs="none") as runtime:
            box = await runtime.create_box("box", auto_start=False)
            first = asyncio.create_task(box.start())
            for _ in range(5):
                await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait([first])
            await box.start()
            assert first.cancelled() and box.state == "ready" and box.incarnation == 2

    run(main, timeout=SECONDS)


def test_the_end_of_a_failed_start_does_not_touch_the_next(run: Run) -> None:
    async def main() -> None:
        async with BoxRuntime("process", logs="none", warm=1) as runtime:
            box = await runtime.create_box("box", BoxSpec(files={"/etc/x": "no"}), auto_start=False)
            with pytest.raises(BoxError, match="not below"):
                await box.start()
            box._spec = BoxSpec()
            await box.start()
            assert (await box.exec("true")).exit_code == 0
            assert box.state == "ready" and box.exit_code is None and box.stats().pid is not None

    run(main, timeout=SECONDS)


def test_who_is_stopped_while_it_starts_says_so(run: Run) -> None:
    async def main() -> None:
        async with BoxRuntime("process", logs="none") as runtime:
            box = await runtime.create_box("box", auto_start=False)
            starting = asyncio.create_task(box.start())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await box.stop()
            with pytest.raises(BoxStartError, match="'box' was stopped before it was up"):
                await starting

    run(main, timeout=SECONDS)
