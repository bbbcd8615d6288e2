"""What is left of a watcher and its agents when their node is killed, stopped or restarted."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal.errors import AgentStartError
from shoal.services import AgentWatcher
from tests.support.agentfiles import QUICK, agent_file, put, served, watching
from tests.support.processes import Script, script
from tests.support.runtimes import running, until

Run = Callable[..., Any]
PROGRAM = Path(__file__).with_name("watcher_program.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "agents"
    path.mkdir()
    return path


def told(program: Script, *files: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Wait until these files are loaded, and nothing else is known; return the ids of all services but watchers."""
    agents: list[Any] = []
    while len(agents) != len(files):
        program.tell(",".join(files))
        heard = program.hear()
        assert heard["errors"] == {}
        agents = [each for each in heard["records"] if not each[0].startswith("watcher/")]
        assert len(agents) >= len(files)
    assert {state for _, _, state in agents} == {"running"}, agents
    return {instance: uuid for instance, uuid, _ in agents}, heard["loaded"]


@pytest.mark.spec("S31")
@pytest.mark.parametrize("ending", ["kill", "stop"])
def test_a_node_that_comes_back_has_each_agent_once(tmp_path: Path, folder: Path, ending: str) -> None:
    file = str(tmp_path / "shoal.db")
    for name in ("a", "b", "gone", "lone"):
        put(folder / f"{name}.py", agent_file(name, 1, exclusive=name == "lone"))
    with script(PROGRAM, file, str(folder)) as program:
        before, first = told(program, "a.py", "b.py", "gone.py", "lone.py")
        assert sorted(before) == sorted(name for (name,) in first.values())
        end(program, ending)
    put(folder / "b.py", agent_file("b", 2))
    (folder / "gone.py").unlink()
    for _ in range(2):
        with script(PROGRAM, file, str(folder)) as program:
            after, loaded = told(program, "a.py", "b.py", "lone.py")
            assert sorted(after) == sorted(name for (name,) in loaded.values()), "each once, and nothing else"
            for name in (*loaded["a.py"], "lone"):
                # An instance without a name of its own is forgotten with a clean end of its runtime.
                same = name != "lone" or ending == "kill"
                assert (after[name] == before[name]) == same, "it is the same agent, with its state and its mail"
            assert {*loaded["b.py"]} == {*after} - {*loaded["a.py"], "lone"} and {*loaded["b.py"]} != {*first["b.py"]}
            before = {**before, **after}
            end(program, ending)


def end(program: Script, ending: str) -> None:
    if ending == "kill":
        program.signal(signal.SIGKILL)
    else:
        program.tell("stop")
    assert program.process.wait(30) == (-9 if ending == "kill" else 0)


@pytest.mark.parametrize("isolation", ["inline", "process"])
@pytest.mark.parametrize("made", ["class", "object"])
def test_a_restart_of_the_runtime_doubles_nothing(
    store_url: str, folder: Path, run: Run, made: str, isolation: str
) -> None:
    async def main() -> None:
        put(folder / "a.py", agent_file("a", 1))
        put(folder / "lone.py", agent_file("lone", 1, exclusive=True))
        config = {"path": str(folder), "interval": QUICK, "isolation": isolation}
        async with running(store_url) as runtime:
            await runtime.services.start(*((AgentWatcher, config) if made == "class" else (AgentWatcher(config),)))

            async def state() -> dict[str, Any]:
                return await runtime.services.request("watcher", {})

            async def complete() -> dict[str, Any]:
                while len((found := await state())["loaded"]) < 2:
                    await asyncio.sleep(0.01)
                return found

            before = await complete()
            for _ in range(2):
                await runtime.restart()
                assert await complete() == before and before["errors"] == {}
                assert [len(served(runtime, name)) for name in ("watcher", "a", "lone")] == [1, 1, 1]
                assert (await runtime.services.request("a", {}))["by"] == 1
            put(folder / "a.py", agent_file("a", 2))
            put(folder / "lone.py", agent_file("lone", 2, exclusive=True))
            while (await state())["loaded"]["a.py"] == before["loaded"]["a.py"] or served(runtime, "lone") != ["lone"]:
                await asyncio.sleep(0.01)
            await until(lambda: len(served(runtime, "a")) == 1)
            assert (await runtime.services.request("a", {}))["by"] == 2

    run(main)


def test_two_watchers_of_one_folder_on_two_nodes_have_an_agent_each(tmp_path: Path, folder: Path, run: Run) -> None:
    async def main() -> None:
        put(folder / "a.py", agent_file("a", 1))
        url = f"sqlite:///{tmp_path / 'shoal.db'}"
        async with running(url) as one, running(url) as two:
            first, second = await watching(one, folder), await watching(two, folder)
            await until(lambda: len(served(one, "a")) == 2)
            assert first.loaded["a.py"] != second.loaded["a.py"] and first.errors == second.errors == {}
            await asyncio.sleep(5 * QUICK)
            assert len(served(one, "a")) == 2, "neither takes the other's for left behind"
            (folder / "a.py").unlink()
            await until(lambda: not served(one, "a"))

    run(main)


def test_what_a_broken_file_had_is_left_to_it(store_url: str, folder: Path, run: Run) -> None:
    async def main() -> None:
        put(folder / "a.py", agent_file("a", 1))
        async with running(store_url) as runtime:
            watcher = await watching(runtime, folder)
            (instance,) = watcher.loaded["a.py"]
            await runtime.services.stop(runtime.services.records()[0].instance, 0)
            await until(lambda: not served(runtime, "watcher"))
            assert served(runtime, "a") == []
        async with running(store_url) as runtime:
            await watching(runtime, folder)
            assert served(runtime, "a") == [instance]
        put(folder / "a.py", "1 / 0\n")
        async with running(store_url) as runtime:
            watcher = await watching(runtime, folder)
            assert "ZeroDivisionError" in watcher.errors["a.py"]
            await asyncio.sleep(5 * QUICK)
            assert [record.state for record in runtime.services.records() if record.name == "a"] == ["stopped"]
            put(folder / "a.py", agent_file("a", 1))
            await until(lambda: watcher.loaded)
            assert served(runtime, "a") == [instance]

    run(main)


def test_a_folder_has_one_watcher_on_a_node(store_url: str, folder: Path, run: Run) -> None:
    put(folder / "a.py", agent_file("served", 1))

    async def main() -> None:
        async with running(store_url) as runtime:
            watcher = await watching(runtime, folder)
            with pytest.raises(AgentStartError, match="has a watcher on this node"):
                await runtime.services.start(AgentWatcher, {"path": str(folder / ".." / "agents")})
            assert (await runtime.services.request("served", {"n": 1}))["by"] == 1
            await runtime.services.stop(watcher.context.name)
            assert served(runtime, "served") == []
            await watching(runtime, folder)
            assert (await runtime.services.request("served", {"n": 1}))["by"] == 1

    run(main)
