"""The part of the suite of boxes that is about the host: it asks, answers, hears, and keeps the record."""

from __future__ import annotations

from typing import Any

import pytest

from shoal.boxes import BoxPolicy, BoxRuntime
from shoal.errors import (
    BoxNotFoundError,
    BoxNotRunningError,
    NoHandlerError,
    NotAllowedError,
    SelfSendError,
)
from shoal.testing.box_frame import BoxFrame

__all__ = ["HostContract"]


class HostContract(BoxFrame):
    """The host among its boxes."""

    def test_the_host_takes_part(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            box = await runtime.create_box("box")
            heard: list[Any] = []

            @runtime.on_message
            async def answer(sender: str, data: Any) -> Any:
                inner = await runtime.request("box", "call back")
                return [sender, data, inner]

            @runtime.on_event("news*")
            def hear(data: Any) -> None:
                heard.append(data)

            @box.on_message
            def handle(sender: str, data: Any) -> Any:
                from shoal_guest import publish_event, send_message

                if data == "call back":
                    return "inner"
                return [send_message("host", data), publish_event("news.today", data), publish_event("nobody")]

            @box.on_event("greeting")
            def greeted(data: Any) -> None:
                print(data)

            await box.run()
            assert await runtime.request("box", 7) == [["box", 7, "inner"], 1, 0]
            assert heard == [7]
            assert await runtime.publish("greeting", "hello") == 1
            await box.stop()
            assert self.texts(box.logs("stdout")) == ["hello"]

        self.check(body)

    def test_the_host_is_refused_with_the_same_classes(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            mute = await runtime.create_box("mute")
            await runtime.create_box("idle")

            @mute.on_event("news")
            def news(data: Any) -> None: ...

            await mute.run()
            for target, error in (("nobody", BoxNotFoundError), ("idle", BoxNotRunningError), ("mute", NoHandlerError)):
                with pytest.raises(error):
                    await runtime.request(target, 1)
            with pytest.raises(SelfSendError):
                await runtime.request("host", 1)
            runtime.policy = BoxPolicy()
            with pytest.raises(NotAllowedError):
                await runtime.request("mute", 1)

        self.check(body)

    def test_the_audit_of_ten_messages(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            box = await runtime.create_box("box")

            @box.on_message
            def handle(sender: str, data: Any) -> Any:
                return data

            await box.run()
            for number in range(10):
                await runtime.request("box", number)
            records = runtime.audit.tail(20)
            assert [(r.kind, r.sender, r.target, r.bytes, r.outcome) for r in records] == [
                ("send", "host", "box", 1, "ok"),
                ("answer", "box", "host", 1, "ok"),
            ] * 10
            assert [r.request_id for r in records[::2]] == [r.request_id for r in records[1::2]]
            assert all(r.duration_ms is not None and r.duration_ms > 0 for r in records[1::2])
            assert [r.seq for r in records] == list(range(1, 21))

        self.check(body)
