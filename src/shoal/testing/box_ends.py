"""The part of the suite of boxes that is about their ends: exit codes, stops, and who hears of them."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

import pytest

from shoal.boxes import BoxLimits, BoxRuntime
from shoal.errors import (
    BoxStoppedError,
    BoxWaitTimeoutError,
    DeadAgentError,
)
from shoal.testing.box_frame import BoxFrame, until

__all__ = ["EXITS", "EndsContract"]

EXITS = [("return", 0), ("raise", 1), ("exit 7", 7), ("exit 139", 139), ("kill 9", -9), ("segfault", -11)]
"""How a program ends, and the exit code of its box."""


class EndsContract(BoxFrame):
    """Ends of boxes."""

    def test_events_before_an_exit_are_delivered(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            hearer, teller = await runtime.create_box("hearer"), await runtime.create_box("teller")

            @hearer.on_event("n")
            def hear(data: Any) -> None:
                print(data)

            @teller.task
            def main() -> Any:
                from shoal_guest import publish_event

                return [publish_event("n", number) for number in range(200)]

            rounds = self.rounds(50, 3)
            await hearer.run()
            for _ in range(rounds):
                await teller.run()
                assert await teller.wait() == 0, teller.error
                assert teller.result == [1] * 200
            await hearer.stop()
            assert self.texts(hearer.logs("stdout", tail=200 * rounds)) == [str(n) for n in range(200)] * rounds

        self.check(body, limits=BoxLimits(log_lines=20_000))

    def test_wait_all(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            assert await runtime.wait_all() == []
            quick, endless = await runtime.create_box("quick"), await runtime.create_box("endless")
            await runtime.create_box("idle")

            @quick.task
            def seven() -> None:
                raise SystemExit(7)

            @endless.on_message
            def handle(sender: str, data: Any) -> None: ...

            await endless.run()
            await quick.run()
            with pytest.raises(BoxWaitTimeoutError) as caught:
                await runtime.wait_all(timeout=1)
            assert caught.value.codes == {"quick": 7, "endless": None}
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                await runtime.wait_all(timeout=0)
            assert time.monotonic() - began < 1
            await endless.stop()
            assert await runtime.wait_all() == [7, 0]

        self.check(body)

    @pytest.mark.parametrize(("how", "code"), EXITS)
    def test_exit_codes(self, how: str, code: int) -> None:
        async def body(runtime: BoxRuntime) -> None:
            box = await runtime.create_box("box")

            @box.task
            def main() -> None:
                import ctypes
                import sys

                word, _, number = how.partition(" ")
                if word == "raise":
                    raise LookupError("not there")
                if word == "exit":
                    sys.exit(int(number))
                if word == "kill":
                    os.kill(os.getpid(), int(number))
                if word == "segfault":
                    ctypes.string_at(0)

            await box.run()
            assert await box.wait() == code
            assert box.exit_code == code
            if how == "raise":
                assert "not there" in (box.error or "")
                assert "LookupError: not there" in "\n".join(self.texts(box.logs("stderr")))
            assert (box.reason or "").startswith("signal" if code < 0 else "exit")

        self.check(body)

    def test_stopping(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            idle, deaf, polite = [await runtime.create_box(name) for name in ("idle", "deaf", "polite")]
            began = time.monotonic()
            await idle.stop()
            assert time.monotonic() - began < 2 and idle.state == "exited"

            @deaf.task
            def never() -> None:
                import signal
                import time

                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                while True:
                    time.sleep(1)

            @polite.task
            def last_words() -> None:
                import time

                try:
                    time.sleep(100)
                finally:
                    print("finally")

            await deaf.run()
            await polite.run()
            began = time.monotonic()
            await asyncio.gather(deaf.stop(grace=1), polite.stop(grace=4))
            assert 0.9 <= time.monotonic() - began < 6
            assert deaf.exit_code == -9 and polite.exit_code == 143
            assert self.texts(polite.logs("stdout")) == ["finally"]
            await (await runtime.create_box("asleep", auto_start=False)).stop()

        self.check(body)

    def test_what_was_taken_before_a_stop_is_handled(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            box = await runtime.create_box("box")

            @box.on_event("n")
            def hear(data: Any) -> None:
                import time

                time.sleep(0.005)
                print(data)

            await box.run()
            for number in range(50):
                assert await runtime.publish("n", number) == 1
            await box.stop()
            assert self.texts(box.logs("stdout")) == [str(number) for number in range(50)]

        self.check(body)

    def test_an_end_is_told(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            ends: list[Any] = []
            facts: list[Any] = []
            runtime.on_exit(lambda *args: ends.append(args))
            runtime.on_event("shoal.*")(facts.append)
            box = await runtime.create_box("box")

            @box.task
            def main() -> None:

                sys.exit(3)

            await box.run()
            await box.wait()
            await until(lambda: bool(ends and facts))
            assert ends == [("box", 1, 3, "exit")]
            assert facts == [{"box": "box", "exit_code": 3, "reason": "exit"}]
            with pytest.raises(DeadAgentError):
                await runtime.request("box", 1)

        self.check(body)

    def test_stop_in_a_handler_answers_first_and_tells_the_others(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            box = await runtime.create_box("box")

            @box.on_message
            def handle(sender: str, data: Any) -> Any:
                import time

                from shoal_guest import stop

                time.sleep(0.3)
                stop()
                return "the last answer"

            await box.run()
            first = asyncio.create_task(runtime.request("box", 0))
            others = [asyncio.create_task(runtime.request("box", n)) for n in range(1, 11)]
            ends = await asyncio.gather(first, *others, return_exceptions=True)
            assert ends[0] == "the last answer"
            assert [type(end) for end in ends[1:]] == [BoxStoppedError] * 10
            assert await box.wait() == 0

        self.check(body)
