"""Files whose names are no text, beside what is collected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shoal.boxes import BoxRuntime, BoxSpec


def test_a_file_whose_name_is_no_text_keeps_nothing_else_from_being_collected(run: Callable[..., Any]) -> None:
    def write() -> int:
        import os

        for name in (b"good.out", b"two\nlines.out", b"bad\xff.out"):
            with open(name, "wb") as file:
                file.write(b"x")
        os.mkfifo("pipe.out")
        os.symlink("/dev/zero", "zero.out")
        return 5

    async def main() -> None:
        async with BoxRuntime("process", logs="none", spec=BoxSpec(collect=("*.out",))) as runtime:
            box = await runtime.create_box("box")
            box.task(write)
            await box.run()
            assert (await box.wait(), box.result, box.error) == (0, 5, None)
            assert sorted(path.rpartition("/")[2] for path in box.outputs) == ["good.out", "two\nlines.out"]
            assert any("is not collected: its name is not UTF-8" in line.text for line in box.logs("stderr"))

    run(main, timeout=30)
