from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import socket
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shoal.bus.local import LocalBus
from shoal.bus.peers import Peers
from shoal.bus.wire import Ask, Attach, Hello, Send, packed
from shoal.errors import ConfigError, DeadAgentError, MailboxFullError, MessageTooLargeError, PayloadError
from shoal.kernel.clock import RealClock
from shoal.testing.receivers import Inbox, Replier, a_message, attached_everywhere, until
from tests.support.busprocess import bus_process

_NODE = Path(__file__).with_name("node.py")


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:
        yield Path(place) / "bus"


@contextlib.asynccontextmanager
async def node(folder: Path, name: str) -> AsyncIterator[LocalBus]:
    bus = LocalBus(RealClock(), folder)
    await bus.start(name)
    try:
        yield bus
    finally:
        await bus.stop()


def process(folder: Path, name: str, verb: str = "serve") -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    return bus_process(_NODE, str(folder), name, verb, serves=verb == "serve")


def peers(bus: LocalBus) -> Peers:
    assert isinstance(bus._peers, Peers)
    return bus._peers


def links(bus: LocalBus) -> int:
    assert set(peers(bus).connections.values()) == {each for each in peers(bus)._all if each.node}
    return len(peers(bus).connections)


def _one_each(buses: list[LocalBus]) -> bool:
    return all(len(peers(bus).connections) == len(peers(bus)._all) == len(buses) - 1 for bus in buses)


def test_kill_9_ends_open_requests_within_a_second(folder: Path) -> None:
    async def main() -> None:
        async with node(folder, "here") as bus, process(folder, "there") as child:
            await attached_everywhere([bus], "silent")
            asking = [asyncio.ensure_future(bus.request("silent", a_message(), None)) for _ in range(3)]
            assert (await bus.request("echo", a_message([1]), 5.0)).data == [1]
            began = time.monotonic()
            child.send_signal(signal.SIGKILL)
            for each in asking:
                with pytest.raises(DeadAgentError) as caught:
                    await asyncio.wait_for(each, 1.0)
                assert caught.value.reason == "node_lost"
                assert caught.value.agent_id == "silent"
            assert time.monotonic() - began < 1.0
            assert not bus.has("silent")
            await child.wait()
            assert (folder / "there.sock").exists()
            async with node(folder, "third"):
                assert not (folder / "there.sock").exists()  # it refused, so it was taken away

    asyncio.run(main())


def test_a_client_process_rings_and_leaves(folder: Path) -> None:
    async def main() -> None:
        heard: list[str] = []
        async with node(folder, "here") as bus:
            bus.hear("tasks", heard.append)
            async with process(folder, "client", "ring") as child:
                await child.wait()
                await until(lambda: heard == ["from outside"])
            await until(lambda: links(bus) == 0)

    asyncio.run(main())


def test_nodes_that_start_at_the_same_time_keep_one_connection_a_pair(folder: Path) -> None:
    async def main() -> None:
        for _ in range(10):
            buses = [LocalBus(RealClock(), folder) for _ in range(6)]
            await asyncio.gather(*(bus.start(f"n{number}") for number, bus in enumerate(buses)))
            for number, bus in enumerate(buses):
                bus.attach(f"a{number}", Replier(lambda asked: asked.data))
            for number in range(6):
                await attached_everywhere(list(buses), f"a{number}")
            await until(functools.partial(_one_each, buses))
            for bus in buses:
                for number in range(6):
                    assert (await bus.request(f"a{number}", a_message(number), 1.0)).data == number
            await asyncio.gather(*(bus.stop() for bus in buses))
            assert list(folder.iterdir()) == []

    asyncio.run(main())


def test_a_node_that_begins_anew_under_its_id_replaces_the_old_connection(folder: Path) -> None:
    async def main() -> None:
        async with node(folder, "z-here") as bus:
            async with process(folder, "there") as child:
                child.send_signal(signal.SIGKILL)
            async with process(folder, "there"):
                await attached_everywhere([bus], "echo")
                assert (await bus.request("echo", a_message(1), 2.0)).data == 1
                assert links(bus) == 1

    asyncio.run(main())


def test_a_connection_that_broke_is_made_again(folder: Path) -> None:
    async def main() -> None:
        async with node(folder, "a") as one, node(folder, "b") as two:
            two.attach("echo", Replier(lambda asked: asked.data))
            await attached_everywhere([one], "echo")
            peers(one).connections["b"].abort()
            await until(lambda: not one.has("echo"))
            await until(lambda: one.has("echo"))
            assert (await one.request("echo", a_message(1), 2.0)).data == 1

    asyncio.run(main())


def test_the_folder_is_private_and_a_long_path_has_a_stand_in(folder: Path) -> None:
    deep = folder / ("x" * 60) / ("y" * 60)

    async def main() -> None:
        for place in (folder, deep):
            async with node(place, "a" * 200) as one, node(place, "b/../c") as two:
                assert links(one) == links(two) == 1
                used = peers(one)._folder
                assert stat.S_IMODE(used.stat().st_mode) == 0o700
                assert (used == place) is (place is folder)
            used.rmdir()

    asyncio.run(main())


def test_a_folder_that_cannot_be_made_is_a_config_error(folder: Path) -> None:
    folder.write_text("")

    async def main() -> None:
        with pytest.raises(ConfigError, match="bus: cannot make the folder"):
            await LocalBus(RealClock(), folder).start("a")

    asyncio.run(main())


def test_what_cannot_travel_is_an_error_of_the_sender(folder: Path) -> None:
    async def main() -> None:
        async with node(folder, "a") as one, node(folder, "b") as two:
            two.attach("big", Replier(lambda asked: "x" * (65 * 1024 * 1024)))
            two.attach("inbox", Inbox())
            await attached_everywhere([one], "inbox")
            with pytest.raises(PayloadError, match="cannot travel"):
                await one.send("inbox", a_message(object()))
            with pytest.raises(MessageTooLargeError):
                await one.send("inbox", a_message("x" * (65 * 1024 * 1024)))
            with pytest.raises(MessageTooLargeError):
                await one.request("big", a_message(), 10.0)
            await one.send("inbox", a_message("x" * (10 * 1024 * 1024)))
            assert links(one) == 1

    asyncio.run(main())


def test_a_frozen_node_neither_blocks_nor_fills_memory(folder: Path) -> None:
    async def main() -> None:
        async with node(folder, "here") as bus, process(folder, "there") as child:
            await attached_everywhere([bus], "silent")
            child.send_signal(signal.SIGSTOP)
            block = a_message("x" * 1_000_000)
            sends = [asyncio.ensure_future(bus.send("silent", block)) for _ in range(40)]
            await until(lambda: any(each.done() for each in sends))
            with pytest.raises(MailboxFullError):
                await bus.send("silent", block)
            for number in range(2000):
                bus.ring("tasks", "x" * 1000 + str(number))
            assert peers(bus).connections["there"].behind() < 12 * 1024 * 1024
            began = time.monotonic()
            async with node(folder, "newcomer"):
                assert time.monotonic() - began < 1.5
            child.send_signal(signal.SIGCONT)
            results = await asyncio.gather(*sends, return_exceptions=True)
            assert None in results
            assert all(each is None or isinstance(each, MailboxFullError) for each in results)
            assert (await bus.request("echo", a_message(1), 5.0)).data == 1

    asyncio.run(main())


_hello = packed(Hello("stranger", "1", ["x"], [("x", "news.>")]))
_bodies = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=200).map(lambda body: len(body).to_bytes(4, "big") + body),
    st.binary(max_size=200).map(lambda body: _hello + len(body).to_bytes(4, "big") + body),
    st.tuples(st.integers(0, len(_hello) - 1), st.integers(0, 255)).map(
        lambda change: _hello[: change[0]] + bytes([change[1]]) + _hello[change[0] + 1 :]
    ),
    st.sampled_from(
        [
            b"\xff\xff\xff\xff",
            packed(Attach("x")),
            _hello + _hello,
            _hello + packed(Send(1, "nobody", a_message())),
            _hello + packed(Ask(1, "echo", a_message())) * 20,
            _hello + b"\x00\x00\x00\x00",
            _hello + (5000).to_bytes(4, "big") + b"\x91" * 5000,
        ]
    ),
)


@pytest.fixture(scope="module")
def loop_run() -> Iterator[Callable[[Coroutine[Any, Any, None]], None]]:
    with asyncio.Runner() as runner:
        yield runner.run


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=_bodies)
def test_any_bytes_end_that_connection_and_nothing_else(data: bytes, loop_run: Any) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory() as place:
            async with node(Path(place), "node") as bus:
                bus.attach("echo", Replier(lambda asked: asked.data))
                reader, writer = await asyncio.open_unix_connection(os.path.join(place, "node.sock"))
                writer.write(data)
                writer.write_eof()
                with contextlib.suppress(ConnectionError):
                    await asyncio.wait_for(reader.read(), 2.0)  # the bus closes, for that is the end of what came
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()
                async with node(Path(place), "other") as other:
                    assert (await other.request("echo", a_message(1), 2.0)).data == 1
                await until(lambda: links(bus) == 0)

    loop_run(main())


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", packed(Attach("x")), _hello + b"\x00\x00\x00\x01\xc1"])
def test_what_is_no_frame_closes_at_once_and_is_logged(
    folder: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with node(folder, "node") as bus:
            with socket.socket(socket.AF_UNIX) as raw:
                raw.setblocking(False)
                raw.connect(str(folder / "node.sock"))
                raw.send(data)
                await until(lambda: "closing the connection" in caplog.text)
                await until(lambda: bus._peers and not peers(bus)._all)

    asyncio.run(main())
    assert any(record.name == "shoal.bus" for record in caplog.records)


def test_without_a_folder_there_is_no_socket_and_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        def refuse(*args: object, **kwargs: object) -> None:
            raise AssertionError("a socket was opened")

        monkeypatch.setattr(socket, "socket", refuse)
        bus = LocalBus(RealClock())
        await bus.start("n")
        bus.attach("a", Replier(lambda asked: 1))
        assert (await bus.request("a", a_message(), 1.0)).data == 1
        await bus.stop()

    asyncio.run(main())
