"""AgentWatcher: files are dropped, changed, broken and removed, while callers ask what they define all the time."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime, ResourceLimit
from shoal.errors import AgentStartError
from shoal.services import AgentWatcher, Capability, InfoError, RequestError
from shoal.testing.clock import VirtualClock, run_virtual
from tests.lifecycle.services.test_control import code_of
from tests.support.agentfiles import QUICK, agent_file, put, served, watching
from tests.support.runtimes import UNLIMITED, running, until
from tests.support.servers import Echo

Run = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "agents"
    path.mkdir()
    return path


class Callers:
    """Ask a capability all the time, and note who has answered, and what was no answer."""

    def __init__(self, runtime: AgentRuntime, word: str, pause: float = 0.0) -> None:
        self._runtime = runtime
        self._word = Capability(word)
        self._pause = pause
        self.by: list[Any] = []
        self.errors: list[RequestError] = []
        self._over = False

    async def _call(self, first: int) -> None:
        number = first
        while not self._over:
            number += 1000
            try:
                answer = await self._runtime.services.request(self._word, {"n": number, "pause": self._pause})
            except RequestError as error:
                self.errors.append(error)
                await asyncio.sleep(0.001)
                continue
            assert answer["n"] == number
            self.by.append(answer["by"])
            await asyncio.sleep(0)

    async def heard(self, by: Any) -> None:
        """Wait until only this one answers any more, and has done so often."""
        await until(lambda: len(self.by) > 100 and set(self.by[-100:]) == {by})

    @asynccontextmanager
    async def calling(self, number: int = 10) -> AsyncIterator[Callers]:
        """Call with so many callers."""
        callers = [asyncio.ensure_future(self._call(first)) for first in range(number)]
        try:
            yield self
        finally:
            self._over = True
            await asyncio.gather(*callers)


@pytest.mark.spec("S31")
@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_files_are_followed_under_load_without_a_lost_request(
    store_url: str, folder: Path, run: Run, isolation: str
) -> None:
    async def main() -> None:
        before = {name for name in sys.modules if name.startswith("shoal_agents_")}
        async with running(store_url, limits=UNLIMITED) as runtime:
            watcher = await watching(runtime, folder, isolation=isolation)
            put(folder / "work.py", agent_file("work", 1))
            await until(lambda: watcher.loaded)
            assert watcher.loaded == {"work.py": tuple(served(runtime, "work"))}
            async with Callers(runtime, "work", pause=0.002).calling() as callers:
                await callers.heard(1)
                for version in range(2, 6):
                    if version % 2:
                        put(folder / "work.py", agent_file("work", version))  # as an editor
                    else:
                        (folder / "work.py").write_text(agent_file("work", version))
                    await callers.heard(version)
                put(folder / "work.py", "def broken(:\n")
                await until(lambda: "work.py" in watcher.errors)
                await callers.heard(5)
                put(folder / "work.py", agent_file("work", 5))
                await until(lambda: not watcher.errors)
                os.rename(folder / "work.py", folder / "labour.py")
                await until(lambda: list(watcher.loaded) == ["labour.py"])
                await callers.heard(5)
            assert callers.errors == [], "no request was lost"
            async with Callers(runtime, "work", pause=0.002).calling() as callers:
                await callers.heard(5)
                accepted = asyncio.ensure_future(runtime.services.request("work", {"pause": 0.5}))
                await asyncio.sleep(0.01)
                (folder / "labour.py").unlink()
                await until(lambda: not served(runtime, "work"))
                await until(lambda: callers.errors)
            assert (await accepted)["by"] == 5, "what was accepted is finished"
            assert {error.code for error in callers.errors} <= {"NO_WORKERS", "DRAINING", "AGENT_DIED"}
            assert watcher.loaded == {} and watcher.errors == {}
            await until(lambda: {name for name in sys.modules if name.startswith("shoal_agents_")} == before)

    run(main)


@pytest.mark.spec("S31", "S49")
def test_what_is_wrong_with_a_file_is_kept_and_the_others_run(
    store_url: str, folder: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    files: dict[str, str | bytes] = {
        "good.py": agent_file("good", 1),
        "syntax.py": "class A(:\n    pass\n",
        "raises.py": "import json\n\njson.loads('{')\n",
        "exits.py": "raise SystemExit(1)\n",
        "latin.py": b"name = '\xe9'\n",
        "huge.py": "# " + "x" * 3_000_000,
        "endless.py": "while True:\n    pass\n",
        "start.py": agent_file("start", 1) + "\n    def on_start(self):\n        raise OSError('no disk')\n",
        "twice.py": agent_file("lone", 1, cls="One", exclusive=True) + agent_file("lone", 2, cls="Two", exclusive=True),
    }

    class Hasty(AgentWatcher):
        load_seconds = 0.5

    async def main() -> None:
        for name, text in files.items():
            put(folder / name, text)
        async with running(store_url, limits=UNLIMITED) as runtime:
            watcher = Hasty({"path": str(folder), "interval": QUICK})
            await runtime.services.start(watcher)
            await until(lambda: {*watcher.loaded, *watcher.errors} == set(files))
            ask = runtime.services.request
            assert (await ask("good", {}))["by"] == 1 and (await ask("lone", {}))["by"] == 1
            assert {name: len(found) for name, found in watcher.loaded.items()} == {"good.py": 1, "twice.py": 1}
            expected = {
                "syntax.py": "cannot be loaded: SyntaxError: invalid syntax",
                "raises.py": "cannot be loaded: JSONDecodeError: Expecting property name",
                "exits.py": "cannot be loaded: SystemExit: 1 (line 1)",
                "latin.py": "cannot be loaded: SyntaxError: (unicode error) 'utf-8'",
                "huge.py": "huge.py is too large: 3000002 bytes",
                "endless.py": "cannot be loaded: it does not end within 0.5 s",
                "start.py": "no disk",
                "twice.py": "Two is not started: Agent name 'lone' is taken",
            }
            assert set(watcher.errors) == set(expected)
            assert [name for name, text in expected.items() if text not in watcher.errors[name]] == []
            logged = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
            assert [sum(message.startswith(f"Agent file {name}: ") for message in logged) for name in expected] == [
                1
            ] * 8
            assert await ask("watcher", {}) == {
                "path": str(folder),
                "loaded": {name: list(found) for name, found in watcher.loaded.items()},
                "errors": watcher.errors,
            }
            for name in expected:
                put(folder / name, agent_file(name.removesuffix(".py"), "mended"))
            await until(lambda: not watcher.errors)
            for name in expected:
                assert (await ask(name.removesuffix(".py"), {}))["by"] == "mended"
            names = sorted(["watcher", *(name.removesuffix(".py") for name in files)])
            await until(lambda: sorted(record.name for record in runtime.services.records()) == names)

    run(main)


@pytest.mark.spec("S49")
@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_folder_that_others_can_write_to_is_refused_at_the_start_and_later(
    store_url: str, folder: Path, run: Run, mode: int
) -> None:
    async def main() -> None:
        put(folder / "good.py", agent_file("good", 1))
        folder.chmod(mode)
        async with running(store_url) as runtime:
            with pytest.raises(AgentStartError, match="can be written by others"):
                await runtime.services.start(AgentWatcher, {"path": str(folder)})
            with pytest.raises(AgentStartError, match="cannot be opened: No such file"):
                await runtime.services.start(AgentWatcher, {"path": str(folder / "nowhere")})
            assert runtime.services.records() == []
            folder.chmod(0o700)
            watcher = await watching(runtime, folder)
            folder.chmod(mode)
            put(folder / "evil.py", agent_file("evil", 1))
            (folder / "good.py").unlink()
            await until(lambda: watcher.errors)
            assert "can be written by others" in watcher.errors[str(folder)]
            assert (await runtime.services.request("good", {}))["by"] == 1, "what runs goes on"
            assert served(runtime, "evil") == []
            folder.chmod(0o700)
            await until(lambda: served(runtime, "evil") and not served(runtime, "good"))
            assert watcher.errors == {}

    run(main)


def test_a_version_is_taken_whole(store_url: str, folder: Path, run: Run) -> None:
    async def main() -> None:
        file = folder / "pair.py"
        put(file, agent_file("left", 1, cls="Left") + agent_file("right", 1, cls="Right"))
        async with running(store_url) as runtime:
            watcher = await watching(runtime, folder)
            before = {name: served(runtime, name) for name in ("left", "right")}
            broken = "\n    def on_start(self):\n        raise OSError('no disk')\n"
            put(file, agent_file("left", 2, cls="Left") + agent_file("right", 2, cls="Right") + broken)
            await until(lambda: watcher.errors)
            assert "no disk" in watcher.errors["pair.py"]
            await until(lambda: {name: served(runtime, name) for name in before} == before)
            for name in before:
                assert (await runtime.services.request(name, {}))["by"] == 1
            put(file, agent_file("left", 3, cls="Left"))
            await until(lambda: not served(runtime, "right"))
            await until(lambda: watcher.errors == {} and len(served(runtime, "left")) == 1)
            assert (await runtime.services.request("left", {}))["by"] == 3

    run(main)


def test_an_exclusive_name_is_handed_over_and_taken_back(store_url: str, folder: Path, run: Run) -> None:
    async def main() -> None:
        file = folder / "lone.py"
        put(file, agent_file("lone", 1, exclusive=True))
        async with running(store_url) as runtime:
            watcher = await watching(runtime, folder)
            ask = runtime.services.request
            slow = asyncio.ensure_future(ask("lone", {"pause": 0.5}))
            await asyncio.sleep(0)
            put(file, agent_file("lone", 2, exclusive=True))
            assert (await slow)["by"] == 1, "what was accepted is finished"
            await until(lambda: watcher.loaded.get("lone.py") == ("lone",) and served(runtime, "lone") == ["lone"])

            async def answers(by: int) -> bool:
                try:
                    return bool((await ask("lone", {}))["by"] == by)
                except RequestError:
                    return False

            while not await answers(2):
                await asyncio.sleep(0.01)
            broken = "\n    def on_start(self):\n        raise OSError('no disk')\n"
            put(file, agent_file("other", 3, cls="Other") + agent_file("lone", 3, exclusive=True) + broken)
            await until(lambda: watcher.errors)
            assert "no disk" in watcher.errors["lone.py"]
            await until(lambda: served(runtime, "other") == [])
            assert await answers(2) and watcher.loaded == {"lone.py": ("lone",)}

    run(main)


def test_who_was_refused_a_name_gets_it_when_it_is_free(store_url: str, folder: Path, run: Run) -> None:
    async def main() -> None:
        put(folder / "a.py", agent_file("lone", "a", exclusive=True))
        async with running(store_url) as runtime:
            watcher = await watching(runtime, folder)
            put(folder / "b.py", agent_file("lone", "b", exclusive=True) + agent_file("more", "b", cls="More"))
            await until(lambda: "b.py" in watcher.errors)
            assert "Served is not started: Agent name 'lone' is taken" in watcher.errors["b.py"]
            assert len(watcher.loaded["b.py"]) == 1 and (await runtime.services.request("lone", {}))["by"] == "a"
            put(folder / "a.py", agent_file("more", "a"))
            await until(lambda: not watcher.errors)
            assert (await runtime.services.request("lone", {}))["by"] == "b"
            await runtime.services.start(Echo, {"name": "held"})
            put(folder / "a.py", agent_file("held", "a", exclusive=True))
            await until(lambda: "a.py" in watcher.errors)
            assert len(watcher.loaded["a.py"]) == 1, "nothing of the new version runs: the old one goes on"
            await runtime.services.stop(served(runtime, "held")[0])
            assert (await runtime.services.control("watcher", "rescan"))["errors"] == {}
            assert (await runtime.services.request("held", {}))["by"] == "a"

    run(main)


def test_only_the_content_counts_and_rescan_looks_at_once(store_url: str, folder: Path, run: Run) -> None:
    async def main() -> None:
        file = folder / "work.py"
        put(file, agent_file("work", 1))
        async with running(store_url) as runtime:
            watcher = AgentWatcher({"path": str(folder), "interval": 1000})
            await runtime.services.start(watcher)

            async def rescan() -> Any:
                return await runtime.services.control("watcher", "rescan")

            (first,) = (await rescan())["loaded"]["work.py"]
            os.utime(file)
            assert (await rescan())["loaded"] == {"work.py": [first]}
            put(file, agent_file("work", 2))
            ((second,),) = (await rescan())["loaded"].values()
            assert second != first
            flag = folder.parent / "flag"
            put(file, f"open({str(flag)!r}).close()\n" + agent_file("work", 3))
            assert "No such file" in (await rescan())["errors"]["work.py"]
            flag.touch()
            found = await rescan()
            assert found["errors"] == {}, "what has failed is tried again"
            put(file, "1 / 0\n")
            assert "ZeroDivisionError" in (await rescan())["errors"]["work.py"]
            put(file, f"open({str(flag)!r}).close()\n" + agent_file("work", 3))
            assert await rescan() == found, "what runs is there again"
            file.unlink()
            assert (await rescan())["loaded"] == {}
            await until(lambda: not served(runtime, "work"))

    run(main)


def test_what_found_no_place_starts_when_there_is_one(store_url: str, folder: Path, run: Run) -> None:
    async def main() -> None:
        async with running(store_url, limits=ResourceLimit(max_concurrent_agents=4)) as runtime:
            put(folder / "a.py", agent_file("a", 1))
            put(folder / "b.py", agent_file("b", 1))
            watcher = await watching(runtime, folder)
            await runtime.services.start(Echo)
            put(folder / "a.py", agent_file("a", 2))
            await until(lambda: "Max concurrent agents reached" in watcher.errors.get("a.py", ""))
            assert (await runtime.services.request("a", {}))["by"] == 1, "the old one goes on"
            (folder / "b.py").unlink()
            await until(lambda: not watcher.errors and len(served(runtime, "a")) == 1)
            assert (await runtime.services.request("a", {}))["by"] == 2

    run(main)


def test_a_paused_watcher_follows_nothing_and_a_stopped_one_ends_what_it_started(
    store_url: str, folder: Path, run: Run
) -> None:
    async def main() -> None:
        put(folder / "work.py", agent_file("work", 1))
        async with running(store_url) as runtime:
            watcher = await watching(runtime, folder)
            control, first = runtime.services.control, watcher.loaded["work.py"]
            await control("watcher", "pause")
            put(folder / "work.py", agent_file("work", 2))
            await asyncio.sleep(5 * QUICK)
            assert (await runtime.services.request("work", {}))["by"] == 1
            await control("watcher", "resume")
            await until(
                lambda: watcher.loaded["work.py"] != first and served(runtime, "work") == [*watcher.loaded["work.py"]]
            )
            assert await code_of(control("watcher", "update_config", {"config": {"path": "/"}})) == "VALIDATION_ERROR"
            slow = asyncio.ensure_future(runtime.services.request("work", {"pause": 0.3}))
            await asyncio.sleep(0)
            await control("watcher", "shutdown")
            assert (await slow)["by"] == 2
            await until(lambda: runtime.services.records() == [])

    run(main)


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_only_an_inline_watcher_may_start_services(store_url: str, folder: Path, run: Run, isolation: Any) -> None:
    class Cunning(Echo):
        async def process_request(self, payload: dict[str, Any]) -> Any:
            return {"done": await self.context._call(payload["verb"], payload["args"])}

    async def main() -> None:
        async with running(store_url) as runtime:
            services = runtime.services
            with pytest.raises(AgentStartError, match="only an AgentWatcher with isolation='inline' may"):
                await services.start(AgentWatcher, {"path": str(folder)}, isolation)
            await services.start(Echo, {"name": "victim"})
            for level in ("inline", isolation):
                cunning = await services.start(Cunning, {"name": "cunning"}, level)
                for verb, args in (
                    ("services.start", {"agent": "Echo", "isolation": "inline", "instance": None}),
                    ("services.stop", {"instance": "victim", "grace": 0}),
                    ("services.left", {"pattern": ".*"}),
                ):
                    assert await code_of(services.request(cunning, {"verb": verb, "args": args})) == "UNAUTHORIZED"
            assert len(services.records()) == 3

    run(main)


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"path": 3}, "path must be text"),
        ({"interval": 0}, "interval must be seconds above 0"),
        ({"interval": float("inf")}, "interval must be seconds above 0"),
        ({"interval": True}, "interval must be"),
        ({"isolation": "somewhere"}, "isolation must be one of"),
    ],
)
def test_a_config_that_cannot_be(config: dict[str, Any], fault: str) -> None:
    with pytest.raises(InfoError, match=fault):
        AgentWatcher(config)


def test_where_it_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOAL_AGENT_PATH", raising=False)
    assert AgentWatcher().path == "./agents"
    monkeypatch.setenv("SHOAL_AGENT_PATH", "/srv/agents")
    assert AgentWatcher().path == "/srv/agents"
    assert AgentWatcher({"path": "here"}).path == "here"


def test_it_looks_by_the_clock(folder: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        async with AgentRuntime(store="sqlite://:memory:", clock=clock) as runtime:
            watcher = AgentWatcher({"path": str(folder), "interval": 60.0})
            await runtime.services.start(watcher)
            await clock.sleep(1)
            put(folder / "work.py", agent_file("work", 1))
            await clock.sleep(114)
            assert watcher.loaded == {}, "one look has seen it, at 60 s"
            await clock.sleep(10)
            assert len(watcher.loaded["work.py"]) == 1, "and another one, at 120 s, found the same"
            (folder / "work.py").unlink()
            await clock.sleep(130)
            assert watcher.loaded == {} and served(runtime, "work") == []

    run_virtual(main)
