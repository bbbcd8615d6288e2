"""The part of the suite of boxes that is about their talk: questions, answers, events."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from shoal.boxes import Box, BoxRuntime
from shoal.errors import (
    RequestFailedError,
)
from shoal.testing.box_frame import BoxFrame, until

__all__ = ["TalkContract"]


class TalkContract(BoxFrame):
    """Questions, answers, events."""

    def test_a_box_asks_another(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            receiver, sender = await runtime.create_box("receiver"), await runtime.create_box("sender")

            @receiver.on_message
            def handle(sender: str, data: Any) -> Any:
                return {"doubled": data["value"] * 2, "asked by": sender}

            @sender.task
            def main() -> Any:
                from boxlite_runtime import send_message

                return send_message("receiver", {"value": 21})

            await receiver.run()
            await sender.run()
            assert await sender.wait() == 0, sender.error
            assert sender.result == {"doubled": 42, "asked by": "sender"}

        self.check(body)

    def test_both_names_are_one_module(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            box = await runtime.create_box("box")

            @box.task
            def main() -> Any:
                import boxlite_runtime
                import shoal_guest

                names = (
                    "send_message",
                    "publish_event",
                    "on_message",
                    "on_event",
                    "run_forever",
                    "stop",
                    "log",
                    "stopping",
                )
                known = all(callable(getattr(shoal_guest, name)) for name in names)
                return [boxlite_runtime is shoal_guest, known, shoal_guest.BOX_NAME]

            await box.run()
            assert await box.wait() == 0, box.error
            assert box.result == [True, True, "box"]

        self.check(body)

    def test_the_first_handler_that_does_not_raise_answers(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            box = await runtime.create_box("box")

            @box.on_message
            def first(sender: str, data: Any) -> Any:
                raise KeyError(f"first: {data}")

            @box.on_message
            def second(sender: str, data: Any) -> Any:
                return {"second": 7 // data}

            await box.run()
            assert await runtime.request("box", 7) == {"second": 1}
            with pytest.raises(RequestFailedError, match="first: 0") as caught:
                await runtime.request("box", 0)
            assert (caught.value.error_type, caught.value.box) == ("KeyError", "box")
            assert "in first" in caught.value.traceback and len(caught.value.traceback) <= 8192

        self.check(body)

    def test_what_arrives_during_a_wait_is_delivered_once_and_in_order(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            busy, slow = await runtime.create_box("busy"), await runtime.create_box("slow")

            @slow.on_message
            def answer(sender: str, data: Any) -> Any:

                time.sleep(data)
                return "its own"

            @busy.task
            def main() -> None:
                from shoal_guest import send_message

                print(send_message("slow", 1.0))

            @busy.on_message
            def take(sender: str, data: Any) -> Any:
                print(f"message {data}")

            @busy.on_event("news")
            def hear(data: Any) -> None:
                print(f"event {data}")

            await slow.run()
            await busy.run()
            for number in range(100):
                await runtime.send("busy", number)
                assert await runtime.publish("news", number) == 1
            await runtime.request("busy", "last")
            expected = [f"{kind} {number}" for number in range(100) for kind in ("message", "event")]
            assert self.texts(busy.logs("stdout")) == ["its own", *expected, "message last"]

        self.check(body)

    def test_call_backs_are_answered(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            names = ["a", "b", "c"]
            boxes = [await runtime.create_box(name) for name in names]

            def install(place: int) -> None:
                box, following = boxes[place], names[(place + 1) % 3]

                @box.on_message
                def handle(sender: str, data: Any) -> Any:
                    from shoal_guest import BOX_NAME, send_message

                    path = [*data, BOX_NAME]
                    return path if len(path) >= 7 else send_message(following, path)

            for place in range(3):
                install(place)
                await boxes[place].run()
            assert await runtime.request("a", []) == ["a", "b", "c", "a", "b", "c", "a"]

        self.check(body)

    def test_two_tasks_that_call_each_other(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            for name, other in (("a", "b"), ("b", "a")):
                box = await runtime.create_box(name)

                def install(box: Box, other: str) -> None:
                    @box.on_message
                    def handle(sender: str, data: Any) -> Any:
                        return f"answered {sender}"

                    @box.task
                    def main() -> Any:
                        from shoal_guest import DeadlockError, send_message

                        try:
                            return send_message(other, 1)
                        except DeadlockError as error:
                            return str(error)

                install(box, other)
            await asyncio.gather(*(box.run() for box in runtime.boxes.values()))

            def said() -> list[str]:
                return [record.outcome for record in runtime.audit.tail(20) if record.kind in ("answer", "refusal")]

            await until(lambda: len(said()) == 2)
            assert sorted(said()) == ["DeadlockError", "ok"]
            await runtime.stop_all()
            results = {box.name: box.result for box in runtime.boxes.values()}
            refused = next(name for name, result in results.items() if result.startswith("deadlock: "))
            other = "b" if refused == "a" else "a"
            assert results == {refused: f"deadlock: {refused} -> {other} -> {refused}", other: f"answered {other}"}

        for _ in range(self.rounds(20, 3)):
            self.check(body)

    def test_what_two_boxes_print_is_relayed_in_causal_order(self) -> None:
        lines: list[str] = []

        async def body(runtime: BoxRuntime) -> None:
            ping, pong = await runtime.create_box("ping"), await runtime.create_box("pong")
            count = self.rounds(1000, 200)

            @pong.on_message
            def handle(sender: str, data: Any) -> Any:
                print(f"pong {data}")

            @ping.task
            def main() -> None:
                from shoal_guest import send_message

                for number in range(count):
                    print(f"ping {number}")
                    send_message("pong", number)

            await pong.run()
            await ping.run()
            assert await ping.wait() == 0, ping.error
            assert lines == [f"{word} {number}" for number in range(count) for word in ("ping", "pong")]

        self.check(body, logs=lambda line: lines.append(line.text))

    def test_answers_never_cross(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            asker, box = await runtime.create_box("asker"), await runtime.create_box("box")
            each = self.rounds(1250, 100)

            @box.on_message
            async def handle(sender: str, data: Any) -> Any:
                import asyncio

                if data % 3 == 0:
                    await asyncio.sleep(0)
                return -data

            @asker.task
            def main() -> Any:
                import threading

                from shoal_guest import send_message

                crossed: list[Any] = []

                def work(first: int) -> None:
                    numbers = range(first, first + each)
                    crossed.extend(number for number in numbers if send_message("box", number) != -number)

                threads = [threading.Thread(target=work, args=(place * each,)) for place in range(8)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                return crossed

            await box.run()
            await asker.run()
            assert await asker.wait() == 0, asker.error
            assert asker.result == [] and asker.stats().state == "exited"

        self.check(body)

    def test_the_documents_own_example_with_a_closure(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            receiver = await runtime.create_box(name="receiver")
            sender = await runtime.create_box(name="sender")
            multiplier = 2

            @receiver.on_message
            def handle(sender_name, data):  # type: ignore[no-untyped-def]
                return {"result": data["value"] * multiplier}  # closure!

            @receiver.on_event("done")
            def on_done(data):  # type: ignore[no-untyped-def]
                print(f"Done: {data}")

            @sender.task
            def main() -> None:
                from boxlite_runtime import publish_event, send_message

                result = send_message("receiver", {"value": 21})
                publish_event("done", {"result": result})

            await receiver.run()
            await sender.run()
            await sender.wait()
            await receiver.stop()
            assert self.texts(receiver.logs("stdout")) == ["Done: {'result': {'result': 42}}"]

        self.check(body)
