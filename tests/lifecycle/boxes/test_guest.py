"""The guest of a box in a real process: its program, its handlers, and what it is while the program computes."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from shoal.boxes import boxwire, wire
from tests.support.guest import guest, import_path, raw

Run = Callable[..., Any]


def test_hello_and_the_names_of_the_module(run: Run) -> None:
    def task() -> Any:
        import os
        import sys

        import boxlite_runtime
        import shoal_guest

        assert boxlite_runtime is shoal_guest
        assert "shoal" not in sys.modules and "msgspec" not in sys.modules and "asyncio" not in sys.modules
        return [shoal_guest.BOX_NAME, sorted(shoal_guest.__all__), dict(os.environ), os.getcwd(), sys.stdin.read()]

    async def main() -> None:
        async with guest() as one:
            hello = await one.child.greeted
            assert hello.protocol == (1, 0) and hello.uid == os.getuid() and hello.pid == one.child.pid
            await one.run(task, name="worker", env={"A": "1", "PATH": "/bin"}, cwd="/")
            end = await one.frame(boxwire.Exit)
            name, public, env, cwd, stdin = msgspec.json.decode(end.result)
            assert (end.code, name, cwd, stdin) == (0, "worker", "/", "")
            assert {key: value for key, value in env.items() if key != "LC_CTYPE"} == {"A": "1", "PATH": "/bin"}
            assert "send_message" in public and "DeadlockError" in public
            assert await one.ended() == 0

    run(main)


def test_the_order_of_a_start_and_the_task_comes_before_serving(run: Run) -> None:
    def task() -> str:
        print("task")
        return "done"

    def on_message(sender: str, data: Any) -> Any:
        print("message")
        return [sender, data]

    def on_done(data: Any) -> None:
        print("event", data)

    async def main() -> None:
        async with guest() as one:
            await one.child.greeted
            await one.run(task, messages=(on_message,), events=(("done", on_done), ("do*", on_done)))
            handlers = await one.frame(boxwire.Handlers)
            assert handlers == boxwire.Handlers(messages=True, events=("done", "do*"), complete=True)
            one.message(1, {"x": (1, 2)})
            one.event(2, "done", 7)
            assert await one.reply(1) == ["b", {"x": [1, 2]}]
            assert (await one.frame(boxwire.Handled, id=2)).error is None
            one.send(wire.Stop())
            end = await one.frame(boxwire.Exit)
            assert (end.code, msgspec.json.decode(end.result)) == (0, "done")
            await one.ended()
            assert one.text() == "task\nmessage\nevent 7\nevent 7\n"

    run(main)


@pytest.mark.parametrize("coroutine", [False, True])
def test_the_first_handler_that_does_not_raise_answers_else_the_first_error(run: Run, coroutine: bool) -> None:
    def first(sender: str, data: Any) -> Any:
        raise ValueError(f"first {data}")

    def second(sender: str, data: Any) -> Any:
        if data == 2:
            raise KeyError("second")
        return "second"

    async def first_in_loop(sender: str, data: Any) -> Any:
        return first(sender, data)

    async def second_in_loop(sender: str, data: Any) -> Any:
        return second(sender, data)

    handlers = (first_in_loop, second_in_loop) if coroutine else (first, second)

    async def main() -> None:
        async with guest() as one:
            await one.run(messages=handlers)
            one.message(1, 1)
            one.message(2, 2)
            assert await one.reply(1) == "second"
            error = await one.error(2)
            assert (error.type, error.text) == ("ValueError", "first 2")
            assert "first" in error.traceback and "guest/" not in error.traceback

    run(main)


def test_every_handler_of_an_event_runs_and_a_failure_is_printed(run: Run) -> None:
    def bad(data: Any) -> None:
        raise ValueError("no")

    async def good(data: Any) -> None:
        print("good", data)

    async def main() -> None:
        async with guest() as one:
            await one.run(events=(("x", bad), ("x", good), ("y", good)))
            one.event(1, "x", 3)
            handled = await one.frame(boxwire.Handled, id=1)
            assert handled.error is not None and handled.error.text == "no"
            one.send(wire.Stop())
            await one.ended()
            assert one.text() == "good 3\n" and "ValueError: no" in one.text("stderr")

    run(main)


def test_messages_on_top_of_a_wait_are_handled_there_and_others_wait_for_the_loop(run: Run) -> None:
    def task() -> Any:
        from shoal_guest import send_message

        return send_message("b", "ask", timeout=None)

    def on_message(sender: str, data: Any) -> Any:
        from shoal_guest import send_message

        return send_message("c", data) if data == "deeper" else data

    async def main() -> None:
        async with guest() as one:
            await one.run(task, messages=(on_message,))
            ask = await one.frame(boxwire.Send)
            assert (ask.target, ask.handling, ask.blocks, ask.timeout) == ("b", None, True, None)
            one.message(1, "later")
            one.message(2, "now", over=ask.id)
            assert await one.reply(2) == "now"
            one.message(3, "deeper", over=ask.id)
            deeper = await one.frame(boxwire.Send)
            assert (deeper.target, deeper.handling) == ("c", 3)
            one.message(4, "over the outer wait", over=ask.id)
            one.message(5, "over the inner wait", over=deeper.id)
            assert await one.reply(4) == "over the outer wait"
            assert await one.reply(5) == "over the inner wait"
            one.answer(ask.id, "outer")  # the outer answer comes first
            one.answer(deeper.id, "inner")
            assert await one.reply(3) == "inner"
            assert await one.reply(1) == "later"
            one.send(wire.Stop())
            assert msgspec.json.decode((await one.frame(boxwire.Exit)).result) == "outer"

    run(main)


def test_a_message_is_admitted_to_the_thread_that_waits(run: Run) -> None:
    def task() -> None:
        import threading

        from shoal_guest import send_message

        def ask() -> None:
            threading.current_thread().name = "asker"
            send_message("b", 1)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()

    def on_message(sender: str, data: Any) -> Any:
        import threading

        return threading.current_thread().name

    async def main() -> None:
        async with guest() as one:
            await one.run(task, messages=(on_message,))
            ask = await one.frame(boxwire.Send)
            assert ask.blocks is False
            one.message(1, over=ask.id)
            assert await one.reply(1) == "asker"
            one.answer(ask.id)
            one.message(2, over=ask.id)  # nobody waits there any more: in its turn
            assert await one.reply(2) == "MainThread"

    run(main)


def test_thirty_two_handlers_on_top_of_each_other_and_no_more(run: Run) -> None:
    def on_message(sender: str, data: Any) -> Any:
        from shoal_guest import send_message

        return send_message("b", data + 1)

    async def main() -> None:
        async with guest() as one:
            await one.run(messages=(on_message,))
            one.message(1, 1)
            sends = []
            for number in range(2, 34):
                sends.append(await one.frame(boxwire.Send))
                one.message(number, number, over=sends[-1].id)
            sends.append(await one.frame(boxwire.Send))
            one.message(99, 99, over=sends[-1].id)
            record = await one.frame(boxwire.Reply, id=99)
            assert record.own and record.error is not None and record.error.type == "ChainTooDeepError"
            for place, send in reversed(list(enumerate(sends))):
                one.answer(send.id, place)
                assert await one.reply(place + 1) == place

    run(main)


def test_interleave_handles_any_message_during_a_wait(run: Run) -> None:
    def task() -> Any:
        from shoal_guest import send_message

        return send_message("b", 1)

    async def async_task() -> Any:
        from shoal_guest import asend_message

        return await asend_message("b", 1)

    def on_message(sender: str, data: Any) -> Any:
        return data

    async def main() -> None:
        for program in (task, async_task):
            async with guest() as one:
                await one.run(program, messages=(on_message,), interleave=True)
                ask = await one.frame(boxwire.Send)
                one.message(1, "during")
                assert await one.reply(1) == "during"
                one.answer(ask.id, "answer")
                one.message(2, "after")
                assert await one.reply(2) == "after"
                one.send(wire.Stop())
                assert msgspec.json.decode((await one.frame(boxwire.Exit)).result) == "answer"

    run(main)


def test_coroutines_one_loop_called_back_while_they_wait(run: Run) -> None:
    async def task() -> Any:
        import asyncio

        from shoal_guest import apublish_event, asend_message

        taken = await apublish_event("e", {"a": 1})
        both = await asyncio.gather(asend_message("b", 1), asend_message("c", 2))
        return [taken, both, await asend_message("d", 3)]

    async def on_message(sender: str, data: Any) -> Any:
        import asyncio

        from shoal_guest import send_message

        await asyncio.sleep(0)
        if data == "blocking":
            return send_message("e", 4)  # stops the loop: what comes on top of it needs another
        return [data, id(asyncio.get_running_loop())]

    async def main() -> None:
        async with guest() as one:
            await one.run(task, messages=(on_message,))
            publish = await one.frame(boxwire.Publish)
            one.answer(publish.id, 3)
            first, second = await one.frame(boxwire.Send), await one.frame(boxwire.Send)
            assert (first.blocks, second.blocks) == (False, False)
            one.message(1, "back", over=first.id)
            back, loop = await one.reply(1)
            assert back == "back"
            one.answer(second.id, "c")
            one.answer(first.id, "b")
            third = await one.frame(boxwire.Send, target="d")
            assert third.blocks is True
            one.message(2, "blocking", over=third.id)
            fourth = await one.frame(boxwire.Send, target="e")
            assert (fourth.handling, fourth.blocks) == (2, True)
            one.message(3, "on top", over=fourth.id)
            top, other = await one.reply(3)
            assert top == "on top" and other != loop
            one.answer(fourth.id, "e")
            assert await one.reply(2) == "e"
            one.answer(third.id, "d")
            one.message(4, "after")
            assert await one.reply(4) == ["after", loop]
            one.send(wire.Stop())
            assert msgspec.json.decode((await one.frame(boxwire.Exit)).result) == [3, ["b", "c"], "d"]

    run(main)


def test_what_a_coroutine_started_goes_on_while_the_box_serves_and_is_cancelled_at_its_end(run: Run) -> None:
    async def task() -> None:
        import asyncio

        async def beside() -> None:
            try:
                while True:
                    await asyncio.sleep(0.001)
                    print("tick")
            finally:
                print("cancelled")

        task.beside = asyncio.create_task(beside())  # type: ignore[attr-defined]

    def on_message(sender: str, data: Any) -> Any:
        return data

    async def main() -> None:
        async with guest() as one:
            await one.run(task, messages=(on_message,))
            while "tick" not in one.text():
                await asyncio.sleep(0.01)
            one.message(1, 1)
            assert await one.reply(1) == 1
            one.send(wire.Stop())
            assert await one.ended() == 0
            assert one.text().endswith("cancelled\n")

    run(main)


REFUSALS = r"""
import enum, json, math, shoal_guest
from shoal_guest import send_message, publish_event, PayloadError, MessageTooLargeError
loop = []; loop.append(loop)
deep = []
for _ in range(128): deep = [deep]
cases = [{"x": [1, 2, {3}]}, b"x", math.nan, [math.inf], 2**64, -2**63 - 1, {"a": {1: 2}}, "\ud800", {"\ud800": 1},
         deep, loop, object()]
for case in cases:
    for ask in (lambda c: send_message("b", c), lambda c: publish_event("e", c)):
        try: ask(case)
        except PayloadError as error: text = str(error)
        else: text = "sent"
    print(text)
try: send_message("b", "x" * 2000)
except MessageTooLargeError as error: print(error, error.size, error.limit, isinstance(error, RuntimeError))
for bad in (lambda: send_message(3, 1), lambda: send_message("b", 1, timeout="x"), lambda: send_message("b", 1, timeout=-1),
            lambda: shoal_guest.on_event(None), lambda: send_message("\ud800", 1)):
    try: bad()
    except (TypeError, ValueError) as error: print(type(error).__name__, error)
class Colour(enum.IntEnum): RED = 1
print(send_message("b", {"t": (1, (2,)), "e": Colour.RED, "big": 2**64 - 1, "f": 1.5, "u": "é\n", "deep": deep[0][0]}))
"""


def test_only_json_is_sent_and_the_place_of_a_fault_is_named(run: Run) -> None:
    async def main() -> None:
        async with guest() as one:
            await one.run_script(REFUSALS, max_message=1100)
            send = await one.frame(boxwire.Send)
            data = msgspec.json.decode(send.data)
            assert (data["t"], data["e"], data["big"], data["u"]) == ([1, [2]], 1, 2**64 - 1, "é\n")
            one.answer(send.id, "ok")
            assert (await one.frame(boxwire.Exit)).code == 0, one.text("stderr")
            await one.ended()
            lines = one.text().splitlines()
            assert lines[:3] == [
                "data['x'][2]: set is not JSON",
                "data: bytes is not JSON",
                "data: nan is not a finite number",
            ]
            assert lines[3:9] == [
                "data[0]: inf is not a finite number",
                "data: an integer beyond 64 bits",
                "data: an integer beyond 64 bits",
                "data['a']: the key 1 is not text",
                "data: text with a lone surrogate is not JSON",
                "data (a key): text with a lone surrogate is not JSON",
            ]
            assert all("nested deeper than 128 levels" in line for line in lines[9:11])
            assert lines[11] == "data: object is not JSON"
            assert lines[12] == "data has 2002 bytes, the limit is 1100 2002 1100 True"
            assert [line.split()[0] for line in lines[13:18]] == [
                "TypeError",
                "TypeError",
                "ValueError",
                "TypeError",
                "PayloadError",
            ]
            assert one.frames == [wire.Loaded()]

    run(main)


def test_an_answer_that_is_no_json_and_a_number_nobody_can_read(run: Run) -> None:
    def on_message(sender: str, data: Any) -> Any:
        return {"x": {1}} if data == "set" else data

    def task() -> Any:
        from shoal_guest import PayloadError, send_message

        try:
            send_message("b", 1)
        except PayloadError as error:
            return str(error)
        return "no error"

    async def main() -> None:
        digits = msgspec.Raw(b"1" * 5000)
        async with guest() as one:
            await one.run(task, messages=(on_message,), events=(("e", print),))
            ask = await one.frame(boxwire.Send)
            one.answer(ask.id, digits)
            one.message(1, digits)
            one.message(2, "set")
            one.event(3, "e", digits)
            one.message(4, "fine")
            unreadable = await one.frame(boxwire.Reply, id=1)
            assert unreadable.own and unreadable.error is not None
            assert (unreadable.error.type, "5000 digits" in unreadable.error.text) == ("PayloadError", True)
            wrong = await one.frame(boxwire.Reply, id=2)
            assert wrong.own and wrong.error is not None
            assert (wrong.error.type, wrong.error.text) == ("PayloadError", "answer['x']: set is not JSON")
            assert (await one.frame(boxwire.Handled, id=3)).error is not None
            assert await one.reply(4) == "fine"
            one.send(wire.Stop())
            result = msgspec.json.decode((await one.frame(boxwire.Exit)).result)
            assert result == "the answer cannot be read: an integer of 5000 digits"

    run(main)


def test_errors_of_answers_have_the_class_that_shoal_gives_them(run: Run) -> None:
    def task() -> list[Any]:
        import shoal_guest
        from shoal_guest import RequestFailedError, send_message

        seen: list[Any] = []
        while True:
            try:
                send_message("b", len(seen))
            except RuntimeError as error:
                seen.append([type(error).__name__, str(error), isinstance(error, OSError)])
                if isinstance(error, shoal_guest.DeadAgentError):
                    seen[-1].append(error.exit_code)
                if isinstance(error, RequestFailedError):
                    seen[-1] += [error.error_type, error.error_message, error.traceback, error.box]
            else:
                return seen

    async def main() -> None:
        async with guest() as one:
            await one.run(task)
            for error, text, attributes in (
                ("BoxNotFoundError", "Box 'b' not found", {}),
                ("DeadAgentError", "Box 'b' died (exit code 3)", {"exit_code": 3}),
                ("ResponseTimeoutError", "Timeout waiting for 'b' after 0.5 s", {}),
                (
                    "RequestFailedError",
                    "boom",
                    {"error_type": "ValueError", "error_message": "boom", "traceback": "T", "box": "b"},
                ),
                ("SomethingNew", "text", {}),
            ):
                one.refuse((await one.frame(boxwire.Send)).id, error, text, **attributes)
            one.answer((await one.frame(boxwire.Send)).id)
            seen = msgspec.json.decode((await one.frame(boxwire.Exit)).result)
            assert seen == [
                ["BoxNotFoundError", "Box 'b' not found", False],
                ["DeadAgentError", "Box 'b' died (exit code 3)", True, 3],
                ["ResponseTimeoutError", "Timeout waiting for 'b' after 0.5 s", True],
                ["RequestFailedError", "boom", False, "ValueError", "boom", "T", "b"],
                ["RequestFailedError", "text", False, "SomethingNew", "text", "", None],
            ]

    run(main)


def test_stop_in_a_handler_ends_the_loop_after_the_answer(run: Run) -> None:
    def on_message(sender: str, data: Any) -> Any:
        from shoal_guest import stop

        stop()
        return data

    async def main() -> None:
        async with guest() as one:
            await one.run(messages=(on_message,))
            one.message(1, "first")
            one.message(2, "second")
            assert await one.reply(1) == "first"
            assert (await one.frame(boxwire.Exit)).code == 0
            await one.ended()
            assert one.frames == [wire.Loaded(), boxwire.Handlers(messages=True)]  # nothing of the second message

    run(main)


def test_stop_from_another_thread_wakes_the_loop(run: Run) -> None:
    def on_message(sender: str, data: Any) -> Any:
        import threading

        from shoal_guest import stop

        threading.Timer(0.1, stop).start()

    async def main() -> None:
        async with guest() as one:
            await one.run(messages=(on_message,))
            one.message(1)
            assert await one.reply(1) is None
            assert await one.ended() == 0

    run(main)


def test_a_stop_is_seen_by_the_task_and_what_was_taken_is_handled(run: Run) -> None:
    def task() -> str:
        from shoal_guest import publish_event, stopping

        publish_event("begun")
        while not stopping():
            pass
        return "saw it"

    def on_message(sender: str, data: Any) -> Any:
        return data

    async def main() -> None:
        async with guest() as one:
            await one.run(task, messages=(on_message,))
            one.answer((await one.frame(boxwire.Publish)).id, 0)
            for number in (1, 2, 3):
                one.message(number, number)
            one.send(wire.Stop())
            one.message(4, 4)  # came after
            assert [await one.reply(number) for number in (1, 2, 3)] == [1, 2, 3]
            end = await one.frame(boxwire.Exit)
            assert (end.code, msgspec.json.decode(end.result)) == (0, "saw it")

    run(main)


def test_a_stop_without_draining_skips_what_has_not_begun(run: Run) -> None:
    def on_message(sender: str, data: Any) -> Any:
        from shoal_guest import publish_event

        publish_event("begun")
        return data

    async def main() -> None:
        async with guest() as one:
            await one.run(messages=(on_message,))
            one.message(1, 1)
            one.message(2, 2)
            begun = await one.frame(boxwire.Publish)
            one.send(wire.Stop(drain=False))
            one.answer(begun.id, 0)
            assert await one.reply(1) == 1
            assert (await one.frame(boxwire.Exit)).code == 0
            await one.ended()
            assert not [record for record in one.frames if isinstance(record, boxwire.Reply)]

    run(main)


def test_a_withdrawn_message_never_runs_and_one_that_began_goes_on(run: Run) -> None:
    def on_message(sender: str, data: Any) -> Any:
        from shoal_guest import publish_event

        print("began", data)
        publish_event("begun")
        return data

    async def main() -> None:
        async with guest() as one:
            await one.run(messages=(on_message,))
            one.message(1, 1)
            one.message(2, 2)
            begun = await one.frame(boxwire.Publish)
            one.send(boxwire.Withdraw(id=1), boxwire.Withdraw(id=2))
            withdrawn = await one.frame(boxwire.Reply, id=2)
            assert withdrawn.own and withdrawn.error is not None and withdrawn.error.type == "ResponseTimeoutError"
            one.answer(begun.id, 0)
            assert await one.reply(1) == 1
            one.send(wire.Stop())
            await one.ended()
            assert one.text() == "began 1\n"

    run(main)


def test_no_more_requests_are_open_than_may_be_and_three_hundred_threads_get_their_own_answers(run: Run) -> None:
    def task() -> Any:
        import threading

        from shoal_guest import send_message

        answers: dict[int, Any] = {}

        def ask(number: int) -> None:
            answers[number] = send_message("b", number, timeout=None)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(300)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers == {number: [number] for number in range(300)}

    async def main() -> None:
        async with guest() as one:
            await one.run(task, in_flight=16)
            taken = [await one.frame(boxwire.Send) for _ in range(16)]
            one.send(wire.Ping(id=1))
            await one.frame(wire.Pong)
            assert not [record for record in one.frames if isinstance(record, boxwire.Send)]
            for done in range(300):
                send = taken.pop()
                one.answer(send.id, [msgspec.json.decode(send.data)])
                one.answer(send.id, "twice")
                if done < 300 - 16:
                    taken.append(await one.frame(boxwire.Send))
            assert msgspec.json.decode((await one.frame(boxwire.Exit)).result) is True

    run(main)


def test_a_request_that_finds_no_place_in_time_says_so(run: Run) -> None:
    async def task() -> list[str]:
        import asyncio
        import threading

        from shoal_guest import ResponseTimeoutError, asend_message, send_message

        threading.Thread(target=send_message, args=("b", 1), daemon=True).start()
        texts: list[str] = []
        while not texts:
            try:
                texts.append(await asend_message("b", 2, timeout=0.05))
            except ResponseTimeoutError as error:
                texts.append(str(error))
        try:
            await asyncio.to_thread(send_message, "c", 3, timeout=0.05)
        except ResponseTimeoutError as error:
            texts.append(str(error))
        return texts

    async def main() -> None:
        async with guest() as one:
            await one.run(task, in_flight=1)
            await one.frame(boxwire.Send)
            end = await one.frame(boxwire.Exit)
            assert [text.split(" after")[0] for text in msgspec.json.decode(end.result)] == [
                "Timeout waiting for a place to ask 'b'",
                "Timeout waiting for a place to ask 'c'",
            ]

    run(main)


def test_log_lines_with_fields(run: Run) -> None:
    def task() -> None:
        from shoal_guest import log

        log("hello", level="warning", count=3, what={"a": [1]})

    async def main() -> None:
        async with guest() as one:
            await one.run(task)
            record = await one.frame(boxwire.LogRecord)
            assert (record.text, record.level, record.fields) == ("hello", "warning", {"count": 3, "what": {"a": [1]}})

    run(main)


def test_a_program_that_cannot_be_unpacked_says_so_and_the_box_takes_another(run: Run) -> None:
    async def main() -> None:
        async with guest() as one:
            one.assign()
            one.send_stream(1, b"no pickle")
            one.send(boxwire.BoxProgram(stream=1, size=9))
            ready = await one.frame(boxwire.BoxReady)
            assert ready.error is not None and ready.error.type == "UnpicklingError"
            one.program({"task": lambda: 5, "messages": [], "events": []})
            assert (await one.frame(boxwire.BoxReady)).error is None
            assert msgspec.json.decode((await one.frame(boxwire.Exit)).result) == 5

    run(main)


def test_a_script_tells_its_handlers_one_by_one_and_serves_when_it_says_so(run: Run) -> None:
    source = """
import sys
from boxlite_runtime import on_message, on_event, run_forever, send_message
print(__name__, sys.argv, __file__)
@on_event("e")
def event(data): print("event", data)
@on_message
def handle(sender, data): return data
send_message("b", 1)
run_forever()
print("served")
"""

    async def main() -> None:
        async with guest() as one:
            await one.run_script(source, "one", "two")
            assert await one.frame(boxwire.Handlers) == boxwire.Handlers(events=("e",), complete=False)
            assert await one.frame(boxwire.Handlers) == boxwire.Handlers(messages=True, events=("e",), complete=False)
            one.answer((await one.frame(boxwire.Send)).id)
            assert await one.frame(boxwire.Handlers) == boxwire.Handlers(messages=True, events=("e",), complete=True)
            one.message(1, 5)
            one.event(2, "e", 6)
            assert await one.reply(1) == 5
            one.send(wire.Stop())
            assert await one.ended() == 0
            assert one.text() == "__main__ ['agent.py', 'one', 'two'] agent.py\nevent 6\nserved\n"

    run(main)


def test_a_round_trip_is_quick(run: Run) -> None:
    def echo(sender: str, data: Any) -> Any:
        return data

    async def main() -> float:
        async with guest() as one:
            await one.run(messages=(echo,))
            data = raw({"text": "x" * 1000})
            times = []
            for number in range(1, 300):
                began = time.perf_counter()
                one.message(number, data)
                await one.reply(number)
                times.append(time.perf_counter() - began)
            return statistics.median(times)

    # The budget is 0.1 ms on a quiet machine; here it is only seen that nobody sleeps on the way.
    assert run(main) < 0.002


def test_import_path_keeps_the_interpreters_own_library(run: Run) -> None:
    def task() -> Any:
        import sys

        return sys.path

    async def main() -> None:
        async with guest() as one:
            await one.run(task)
            path = msgspec.json.decode((await one.frame(boxwire.Exit)).result)
            assert path[-1] == import_path()[0] and any(entry.endswith("lib-dynload") for entry in path)

    run(main)
