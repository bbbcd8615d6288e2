"""Programs that do not come up in their box."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shoal.boxes import BoxRuntime
from shoal.errors import BoxNotRunningError, BoxProgramError, BoxStateError
from shoal.kernel.failure import RemoteError

Run = Callable[..., Any]


class Unfit:
    """Travels, and cannot be made anew."""

    def __reduce__(self) -> tuple[object, ...]:
        return int, ("no number",)


def test_a_box_whose_program_cannot_be_unpacked_takes_another(run: Run) -> None:
    async def main() -> None:
        async with BoxRuntime("process", logs="none") as runtime:
            box = await runtime.create_box("box")
            unfit = Unfit()
            box.task(lambda: unfit)
            for _ in range(2):
                with pytest.raises(
                    BoxProgramError, match="could not be unpacked in box 'box': ValueError: invalid"
                ) as told:
                    await box.run()
                assert isinstance(told.value.__cause__, RemoteError) and box.state == "ready"
                with pytest.raises(BoxStateError, match="never run"):
                    await box.wait()
                with pytest.raises(BoxNotRunningError):
                    await runtime.request("box", None)
            box.task(lambda: 5)
            box.on_message(lambda sender, data: data)
            await box.run()
            assert await runtime.request("box", 7) == 7
            await box.stop()
            assert (box.result, box.incarnation, await runtime.wait_all()) == (5, 1, [0])

    run(main, timeout=30)
