"""A durable message that kills its whole node is given up after as many deaths as another after failures, and one more."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime, BaseAgent
from shoal.kernel.redelivery import MAX_DELIVERIES
from tests.support.processes import script

Run = Callable[..., Any]
SCRIPT = Path(__file__).parent / "deadly_node.py"
POISON = 9
DEATHS = MAX_DELIVERIES + 1  # nothing is noted of a first hand-out


class Someone(BaseAgent):
    """Stands for an agent that is not started here."""

    async def on_message(self, message: Any) -> None:
        raise AssertionError("it is never started here")


@pytest.mark.spec("R39")
def test_a_message_that_kills_each_node_ends_as_a_dead_letter(store_url: str, run: Run, tmp_path: Path) -> None:
    async def send() -> list[str]:
        async with AgentRuntime(store=store_url) as runtime:
            for name in ("clerk", "slow", "shelf"):
                await runtime.register_agent(name, Someone)
            for number in range(3):
                await runtime.send_message(["shelf"], "note", number, durable=True)
            await runtime.send_message(["slow"], "note", "long", durable=True)
            return [
                await runtime.send_message(["clerk"], "note", each, durable=True)
                for each in ("one", "two", "poison", "three", "four")
            ]

    sent = run(send)
    diary = tmp_path / "diary"
    lives, kept = [], None
    for _ in range(DEATHS + 1):
        before = diary.stat().st_size if diary.exists() else 0
        with script(SCRIPT, store_url, str(diary), os.environ.get("SHOAL_BUS", "")) as node:
            out, _ = node.process.communicate(timeout=60)
        lives.append((node.process.returncode, diary.read_bytes()[before:].decode().split()))
        if out:
            kept = out.decode().strip()
    assert [code for code, _ in lives] == [POISON] * DEATHS + [0]
    handled = list(itertools.chain.from_iterable(words for _, words in lives))
    assert list(dict.fromkeys(handled)) == ["one", "two", "poison", "three", "four"], "in order"
    assert handled.count("poison") == DEATHS
    assert lives[-1][1] == ["three", "four"]
    assert all(set(words) <= {"poison"} for _, words in lives[2:-1]), "what stands before it was handled and is done"
    assert kept == f"[[0, {DEATHS + 1}], [1, {DEATHS + 1}], [2, {DEATHS + 1}]]", "no failures of theirs"

    async def look() -> None:
        async with AgentRuntime(store=store_url) as runtime:
            (letter,) = runtime.dead_letters()
            assert (letter.message.message_id, letter.reason) == (sent[2], "failures")
            assert (letter.error or "").endswith(f"was lost while it was handled; it has failed {MAX_DELIVERIES} times")
            (told,) = runtime.query_events("message_dead_lettered")
            assert told.details["error"] == letter.error
            received = [event.details["message_id"] for event in runtime.query_events("message_received", limit=100)]
            assert {*sent} - {*received} == {sent[2]}
            assert len(received) == 8, "with the shelf's, and what was being handled beside it each time"

    run(look)
