"""The service that looks after its memory, asked through a runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal.services import MemoryAwareAgent, RequestError
from tests.support.backend import store_at
from tests.support.runtimes import running

pytestmark = pytest.mark.usefixtures("backend")

Run = Callable[..., Any]


class Adder(MemoryAwareAgent):
    """Adds numbers, and says how."""

    def info(self) -> dict[str, Any]:
        return {"name": "adder", "capabilities": ["sum"], "type": "server"}

    def process_small_data(self, data: Any) -> dict[str, Any]:
        return {"sum": sum(data), "chunks": 0}

    def process_chunk(self, chunk: list[Any], state: Any) -> Any:
        total, chunks = state or (0, 0)
        return total + sum(chunk), chunks + 1

    def finish(self, state: Any) -> dict[str, Any]:
        return {"sum": state[0], "chunks": state[1]}


class Forgetful(MemoryAwareAgent):
    """Has no way to answer."""

    def info(self) -> dict[str, Any]:
        return {"name": "forgetful", "capabilities": ["nothing"]}


@pytest.mark.spec("S27")
def test_it_warns_at_the_hundredth_request_and_takes_large_data_in_chunks(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def warnings() -> int:
        return caplog.text.count("High memory usage")

    async def main() -> None:
        async with running(store_at(tmp_path / "shoal.db")) as runtime:
            services = runtime.services
            await services.start(Adder, {"memory_limit_mb": 1})
            for _ in range(99):
                assert await services.request("adder", {"data": [1, 2]}) == {"sum": 3, "chunks": 0}
            assert warnings() == 0
            assert await services.request("adder", {"data": list(range(10_001))}) == {"sum": 50_005_000, "chunks": 11}
            assert warnings() == 1
            await services.start(Forgetful)
            with pytest.raises(RequestError, match=r"EXECUTION_ERROR.*process_small_data of its own"):
                await services.request("forgetful", {"data": [1]})

    run(main)
