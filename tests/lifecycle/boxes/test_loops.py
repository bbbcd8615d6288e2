"""A runtime of boxes belongs to one event loop, and says so on another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shoal.boxes import BoxRuntime
from shoal.errors import BoxStateError


def test_on_another_loop_every_verb_says_that_it_is_another() -> None:
    async def first(runtime: BoxRuntime) -> Any:
        box = await runtime.create_box("box")
        box.on_message(lambda sender, data: data)
        await box.run()
        return box

    async def second(runtime: BoxRuntime, box: Any) -> None:
        verbs: list[Callable[[], Any]] = [
            lambda: runtime.create_box("other"),
            lambda: runtime.request("box", 1),
            lambda: runtime.send("box", 1),
            lambda: runtime.publish("done"),
            lambda: runtime.remove_box("box"),
            runtime.stop_all,
            runtime.wait_all,
            runtime.shutdown,
            box.start,
            box.stop,
            box.wait,
            lambda: box.exec("true"),
            lambda: box.put_file("x", b""),
            lambda: box.get_file("x"),
        ]
        for verb in verbs:
            with pytest.raises(BoxStateError, match="another event loop"):
                await verb()

    async def third(runtime: BoxRuntime) -> None:
        assert await runtime.request("box", 1) == 1
        await runtime.shutdown()

    runtime = BoxRuntime("process", logs="none")
    runtime.on_event("done")(lambda data: None)  # before any loop runs
    with asyncio.Runner() as runner:
        box = runner.run(first(runtime))
        other = asyncio.new_event_loop()
        asyncio.set_event_loop(None)
        try:
            other.run_until_complete(second(runtime, box))
        finally:
            other.close()
        runner.run(third(runtime))
