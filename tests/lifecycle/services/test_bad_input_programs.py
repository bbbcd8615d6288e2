"""Bad input to those who start processes, and to those who look at what others have written."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal.errors import ConfigError, PayloadError
from shoal.services import AgentProcessManager, RegistryClient, RestartPolicy, ServiceAgent
from tests.support.command import said, shoal
from tests.support.processes import Script, gone, script
from tests.support.registries import info, served
from tests.support.runtimes import running, until

Run = Callable[..., Any]
PROGRAMS = Path(__file__).with_name("process_programs.py")
SOON = RestartPolicy(initial_seconds=0.02, max_seconds=0.05)


class Fragile(ServiceAgent):
    """Cannot be built once the file of its config is there."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        if "flag" in self.config and Path(self.config["flag"]).exists():
            self.break_down()

    def break_down(self) -> None:
        raise OSError("no such device")

    def info(self) -> dict[str, Any]:
        return {"name": "fragile", "capabilities": ["work"]}

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {"pid": os.getpid()}


@pytest.mark.spec("S49")
def test_options_and_classes_that_cannot_travel(store_url: str, run: Run) -> None:
    lock = threading.Lock()

    class Locked(Fragile):
        async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
            return {"locked": lock.locked()}

    async def main() -> None:
        async with running(store_url) as runtime:
            manager = AgentProcessManager(runtime)
            for options in ({"lock": lock}, {"set": {1}}, {"x": float("nan")}, {1: 2}):
                with pytest.raises(PayloadError, match="options"):
                    await manager.start_agent_process(Fragile, options=options)  # type: ignore[arg-type]
            with pytest.raises(ConfigError, match=r"(?s)Locked.*lock"):
                await manager.start_agent_process(Locked)
            assert manager.processes == {} and runtime.services.records() == [] and runtime.list_agents() == []
            assert await manager.start_agent_process(Fragile) == ["fragile_0"], "no number was used up"
            await manager.stop_all_processes()

    run(main)


@pytest.mark.spec("S49")
def test_class_that_cannot_be_built_any_more(store_url: str, run: Run, tmp_path: Path) -> None:
    flag = tmp_path / "flag"

    async def main() -> None:
        async with running(store_url) as runtime:
            manager = AgentProcessManager(runtime, restart=SOON)
            broken, well = await manager.start_agent_process(Fragile, 2, {"flag": str(flag)})
            flag.touch()
            with pytest.raises(Exception, match="no such device"):
                await manager.start_agent_process(Fragile, options={"flag": str(flag)})
            assert list(manager.processes) == [broken, well]
            os.kill(manager.processes[broken].pid or 0, signal.SIGKILL)
            await until(lambda: len(runtime.query_events("agent_failed")) >= 6)
            await until(lambda: manager.processes[broken].state == "failed")
            found = manager.processes[broken]
            assert found.pid is None and found.last_error is not None
            assert "no such device" in found.last_error
            assert "break_down" in found.last_error, "the traceback tells where"
            assert manager.processes[well].state == "running"
            pid = manager.processes[well].pid
            assert await runtime.services.request(well, {}) == {"pid": pid}
            await manager.stop_all_processes()

    run(main)


def told(program: Script, key: str) -> Any:
    """Return what a program says under *key*; its children say other things."""
    while key not in (line := program.hear()):
        continue
    return line[key]


@pytest.mark.spec("S49")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_twice_to_a_manager(number: signal.Signals, tmp_path: Path) -> None:
    with script(PROGRAMS, "busy", str(tmp_path / "shoal.db")) as program:
        pids = told(program, "pids")
        program.signal(signal.SIGTERM)
        assert told(program, "draining") is True
        assert not gone(pids[0]), "it finishes what it has accepted"
        program.signal(number)
        assert program.process.wait(5) == 128 + number, "the second one does not wait for what runs"
        asyncio.run(until(lambda: all(gone(pid) for pid in pids), 10))


@pytest.mark.spec("S49")
def test_capability_and_name_with_markup_or_escape_codes(store_url: str, run: Run, tmp_path: Path) -> None:
    name, word = "<script>[red]x[/red]</script>\x1b[31m", "a\x1b]0;title\x07[bold]\nsecond line"

    async def main() -> None:
        async with running(store_url) as runtime, served(runtime) as (_, http):
            url = str(http.base_url)
            async with RegistryClient(url) as client:
                await client.register(info(name, word))
                (found,) = await client.fetch_all()
                assert (found.name, found.capabilities) == (name, (word,)), "stored as it is"
            shown = await asyncio.to_thread(shoal, tmp_path, "discover", "--all", "--url", url)
            assert shown.returncode == 0, shown.stderr
            assert not set(shown.stdout) & {"\x1b", "\x07"}
            assert "<script>[red]x[/red]" in shown.stdout and "\\x1b" in shown.stdout
            assert len([line for line in shown.stdout.splitlines() if "second line" in line]) <= 1
            (told,) = said(await asyncio.to_thread(shoal, tmp_path, "discover", "--all", "--json", "--url", url))
            assert (told["name"], told["capabilities"]) == (name, [word])

    run(main)
