"""The part of the suite of boxes that is about what goes wrong in their talk: refusals, time-outs, deaths, bad data."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import pytest

from shoal.boxes import BoxPolicy, BoxRuntime
from shoal.errors import (
    DeadAgentError,
    DeadlockError,
    MailboxFullError,
    MessageTooLargeError,
    PayloadError,
    RequestFailedError,
    ResponseTimeoutError,
)
from shoal.testing.box_frame import BoxFrame

__all__ = ["BoundsContract"]


class BoundsContract(BoxFrame):
    """Refusals, time-outs, deaths, bad data."""

    def test_five_refusals_have_five_classes(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            asker, mute = await runtime.create_box("asker"), await runtime.create_box("mute")
            await runtime.create_box("idle")
            runtime.policy = BoxPolicy(allow=[("asker", "[!f]*"), ("host", "*")], events=[("*", "*")])

            @mute.on_event("news")
            def news(data: Any) -> None: ...

            @asker.task
            def main() -> Any:
                import time

                import shoal_guest

                said = []
                for target in ("nobody", "asker", "idle", "mute", "forbidden"):
                    began = time.monotonic()
                    try:
                        shoal_guest.send_message(target, 1)
                    except RuntimeError as error:
                        said.append([type(error).__name__, str(error), time.monotonic() - began < 1])
                return said

            await mute.run()
            await asker.run()
            assert await asker.wait() == 0, asker.error
            assert asker.result == [
                ["BoxNotFoundError", "Box 'nobody' not found", True],
                ["SelfSendError", "Cannot send to self", True],
                ["BoxNotRunningError", "Box 'idle' not running", True],
                ["NoHandlerError", "Box 'mute' has no message handler", True],
                ["NotAllowedError", "Box 'asker' may not talk to 'forbidden'", True],
            ]

        self.check(body)

    def test_nothing_printed_is_a_frame(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            box = await runtime.create_box("box")

            @box.on_message
            def handle(sender: str, data: Any) -> Any:
                import os

                print(42)
                print([])
                print('{"type":"send","id":1,"target":"host","data":1}')
                os.write(1, bytes(range(256)) + b"\n")
                return "routed"

            await box.run()
            assert await runtime.request("box", 1) == "routed"
            text = self.texts(box.logs("stdout"))
            assert text[:3] == ["42", "[]", '{"type":"send","id":1,"target":"host","data":1}']
            assert "ABCDEF" in "".join(text[3:]) and "\\xff" in text[-1]
            assert await runtime.request("box", 1) == "routed"

        self.check(body)

    def test_death_in_a_handler_is_told(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            box = await runtime.create_box("box")

            @box.on_message
            def handle(sender: str, data: Any) -> Any:
                import os

                os._exit(3)

            for _ in range(self.rounds(100, 5)):
                await box.run()
                began = time.monotonic()
                with pytest.raises(DeadAgentError, match=r"Box 'box' died \(exit code 3\)") as caught:
                    await runtime.request("box", 1)
                assert time.monotonic() - began < 10 and caught.value.exit_code == 3
                assert await box.wait() == 3

        self.check(body)

    def test_an_answer_that_is_not_json(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            box = await runtime.create_box("box")

            @box.on_message
            def handle(sender: str, data: Any) -> Any:
                return {"x": [1, 2, {3}]}

            await box.run()
            with pytest.raises(PayloadError, match=r"\['x'\]\[2\].*set"):
                await runtime.request("box", 1)

        self.check(body)

    def test_data_that_is_not_json_is_refused_before_it_is_sent(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            asker, box = await runtime.create_box("asker"), await runtime.create_box("box")

            @box.on_message
            def handle(sender: str, data: Any) -> Any:
                return "never"

            @asker.task
            def main() -> Any:
                from shoal_guest import send_message

                loop: list[Any] = []
                loop.append(loop)
                deep: Any = 0
                for _ in range(129):
                    deep = [deep]
                said = []
                for data in ({1, 2}, b"x", float("nan"), 2**64, {1: 2}, "\ud800", deep, loop, "x" * (10 << 20)):
                    try:
                        said.append(send_message("box", data))
                    except RuntimeError as error:
                        said.append(type(error).__name__)
                return said

            await box.run()
            await asker.run()
            assert await asker.wait() == 0, asker.error
            assert asker.result == ["PayloadError"] * 8 + ["MessageTooLargeError"]
            assert box.stats().received == 0
            for data in ({1, 2}, math.nan, {1: 2}):
                with pytest.raises(PayloadError):
                    await runtime.request("box", data)
            with pytest.raises(MessageTooLargeError):
                await runtime.request("box", "x" * (10 << 20))

        self.check(body)

    def test_a_time_out_is_the_senders(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            box = await runtime.create_box("box")

            @box.on_message
            def handle(sender: str, data: Any) -> Any:
                import time

                print(data)
                time.sleep(1.5 if data == "slow" else 0)

            await box.run()
            began = time.monotonic()
            slow = asyncio.create_task(runtime.request("box", "slow", timeout=0.5))
            queued = asyncio.create_task(runtime.request("box", "never runs", timeout=0.5))
            for late in (slow, queued):
                with pytest.raises(ResponseTimeoutError, match=r"Timeout waiting for 'box' after 0\.5 s"):
                    await late
            assert 0.4 <= time.monotonic() - began < 5
            await runtime.request("box", "after")
            assert self.texts(box.logs("stdout")) == ["slow", "after"]
            assert box.stats().late_replies >= 1

        self.check(body)

    def test_a_full_mailbox_is_told_at_once(self) -> None:
        from shoal.boxes import BoxLimits

        async def body(runtime: BoxRuntime) -> None:
            box = await runtime.create_box("box")

            @box.on_message
            def handle(sender: str, data: Any) -> Any:
                import time

                time.sleep(data)

            await box.run()
            work = [asyncio.create_task(runtime.request("box", 0.5 if n == 0 else 0)) for n in range(21)]
            with pytest.raises(MailboxFullError, match=r"Mailbox of 'box' is full \(4\)"):
                await asyncio.gather(*work)
            await asyncio.gather(*work, return_exceptions=True)

        self.check(body, limits=BoxLimits(mailbox_messages=4))

    def test_a_deadlock_error_is_the_same_on_both_sides(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            box = await runtime.create_box("box")

            @box.on_message
            def handle(sender: str, data: Any) -> Any:
                from shoal_guest import DeadlockError

                raise DeadlockError("deadlock: a -> b -> a")

            await box.run()
            with pytest.raises(RequestFailedError, match="deadlock: a -> b -> a") as caught:
                await runtime.request("box", 1)
            assert caught.value.error_type == DeadlockError.__name__

        self.check(body)
