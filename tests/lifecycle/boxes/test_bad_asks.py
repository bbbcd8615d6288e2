"""What a caller hands over wrongly is refused with words, and nothing has changed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal.boxes import BoxRuntime
from shoal.errors import BoxSpecError

Run = Callable[..., Any]


def test_what_is_no_function_and_no_name_is_refused(run: Run) -> None:
    def function(data: Any) -> None:
        return

    async def main() -> None:
        async with BoxRuntime("process", logs="none") as runtime:
            box = await runtime.create_box("box", auto_start=False)
            wrong: list[tuple[str, Callable[[], Any]]] = [
                ("a task must be a function, not 5", lambda: box.task(5)),  # type: ignore[type-var]
                ("a handler must be a function", lambda: box.on_message(None)),  # type: ignore[type-var]
                ("as in @on_event('done')", lambda: box.on_event(function)),  # type: ignore[arg-type]
                ("as in @on_event('done')", lambda: box.on_event("")),
                ("a handler must be a function", lambda: box.on_event("done")(5)),  # type: ignore[type-var]
                ("as in @on_event('done')", lambda: runtime.on_event(function)),  # type: ignore[arg-type]
                ("a handler must be a function", lambda: runtime.on_event("done")(5)),  # type: ignore[type-var]
                ("a handler must be a function", lambda: runtime.on_message(5)),  # type: ignore[type-var]
                ("a listener must be a function", lambda: runtime.on_exit(5)),  # type: ignore[type-var]
                ("a listener must be a function", lambda: runtime.audit.subscribe(5)),  # type: ignore[arg-type]
            ]
            for text, ask in wrong:
                with pytest.raises(TypeError, match=re.escape(text)):
                    ask()
            for target in (5, box, None):
                with pytest.raises(TypeError, match="target is the name of a box"):
                    await runtime.request(target, 1)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="event is the name"):
                await runtime.publish(5)  # type: ignore[arg-type]
            late: Any = (runtime.wait_all, runtime.stop_all, box.stop, lambda x: runtime.request("box", 1, timeout=x))
            for waits in late:
                with pytest.raises(BoxSpecError, match="must be seconds or None, not '3'"):
                    await waits("3")
            assert await runtime.publish("done") == 0

    run(main, timeout=30)


def test_commands_files_and_variables_that_are_none_are_refused(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("print('ran')")

    async def main() -> None:
        async with BoxRuntime("process", logs="none") as runtime:
            box: Any = await runtime.create_box("box")
            box.task(lambda: 1)
            wrong: list[Callable[[], Any]] = [
                lambda: box.exec(),
                lambda: box.exec(""),
                lambda: box.exec(5),
                lambda: box.exec(["ls"]),
                lambda: box.exec("a\0b"),
                lambda: box.exec("\ud800"),
                lambda: box.exec("true", env={"A": 5}),
                lambda: box.exec("true", env={"A=": "5"}),
                lambda: box.exec("true", env=["A"]),
                lambda: box.exec("true", cwd=5),
                lambda: box.exec("true", stdin=5),
                lambda: box.exec("echo", "hi", max_output=-1),
                lambda: box.exec("echo", "hi", max_output="5"),
                lambda: box.exec("true", timeout="1"),
                lambda: box.put_file("x", "text"),
                lambda: box.put_file(5, b""),
                lambda: box.get_file("\ud800"),
                lambda: box.run(env={"A": 5}),
                lambda: box.run(env={"A": "\ud800"}),
                lambda: box.run(env={"A=B": "x"}),
                lambda: box.run_script(script, "\ud800"),
                lambda: box.run_script(script, env={5: "a"}),
            ]
            for place, ask in enumerate(wrong):
                with pytest.raises(BoxSpecError):
                    await ask()
                assert (box.state, box.incarnation, box.ran) == ("ready", 1, False), place
            await box.run_script(script, "x")
            assert await box.wait() == 0

    run(main, timeout=30)


def test_a_command_that_is_late_is_named(run: Run) -> None:
    async def main() -> None:
        async with BoxRuntime("process", logs="none") as runtime:
            box = await runtime.create_box("box")
            with pytest.raises(TimeoutError, match=re.escape("'sleep' in box 'box' did not end within 0.2 s")):
                await box.exec("sleep", "100", timeout=0.2)

    run(main, timeout=30)
