"""Questions of a run, decided on the terminal on which it was started."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from shoal.boxes.logs import visible
from shoal.cli.show import text_of
from shoal.kernel.clock import RealClock
from shoal.kernel.run import Approval, RunEvent, RunEventType
from shoal.kernel.runs import Runs

__all__ = ["Asker", "can_ask", "question_text", "whoever"]

_MOMENT_SECONDS = 0.01
YES, NO = ("y", "yes"), ("n", "no")


def can_ask() -> bool:
    """Tell whether somebody can be asked: what is read and what is said belong to a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def whoever() -> str:
    """Return the name of the user of this terminal."""
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):  # a user without a name, as in a container
        return str(os.getuid())


def _subject(asked: Approval) -> str:
    who = f" of {asked.agent_name}" if asked.agent_name else ""
    return f"{asked.kind}{f' {asked.tool}' if asked.tool else ''}{who}"


def _in_full(asked: Approval) -> str:
    """Return what a question is about for whoever decides it: a plan as a list, a summary as it is."""
    given = msgspec.to_builtins(asked.arguments)
    if asked.kind == "plan" and isinstance(given, list) and all(isinstance(step, dict) for step in given):
        steps = [f"  {step.get('id', '')}. {step.get('title', '')} → {step.get('owner', '')}" for step in given]
        return visible("\n".join([_subject(asked), *steps]))
    if isinstance(given, dict) and list(given) == ["summary"]:
        return visible(f"{_subject(asked)}\n{given['summary']}")
    return question_text(asked)


def question_text(asked: Approval) -> str:
    """Return what a question is about, in one line."""
    what = _subject(asked)
    given = f" {text_of(msgspec.to_builtins(asked.arguments))}" if asked.arguments not in (None, "", {}, []) else ""
    return visible(f"{what}{given}").replace("\n", " ")


class Asker:
    """Decides the questions of one run, one after the other: by whoever sits at the terminal, or with yes.

    Whether a tool call that a crash hid was done is nothing to say yes to: only a person at a terminal is asked that.

    Args:
        runs: where they are decided.
        run_id: of the run.
        ask: whether somebody sits at the terminal (``can_ask``, before anything is drawn on it).
        yes: whether every question is decided with yes, and nobody is asked.
        leave: gives the terminal free while somebody is asked.
        stuck: is called with a question that *yes* does not decide, where nobody can be asked.
    """

    def __init__(
        self, runs: Runs, run_id: str, *, ask: bool, yes: bool, leave: Callable[[], AbstractContextManager[Any]],
        stuck: Callable[[Approval], object],
    ) -> None:  # fmt: skip
        self._runs = runs
        self._run_id = run_id
        self._ask_here = ask
        self._yes = yes
        self._leave = leave
        self._stuck = stuck
        self._clock = RealClock()
        self._asked: asyncio.Queue[str] = asyncio.Queue()
        self._seen: set[str] = set()
        self._given: dict[str, asyncio.Event] = {}

    def take(self, event: RunEvent) -> None:
        """Take the next event of the run."""
        question = str(event.data.get("id", ""))
        if event.type == RunEventType.APPROVAL_ASKED and question not in self._seen:
            self._seen.add(question)
            self._given[question] = asyncio.Event()
            self._asked.put_nowait(question)
        elif event.type == RunEventType.APPROVAL_GIVEN and question in self._given:
            self._given[question].set()

    async def work(self) -> None:
        """Decide what is asked, until it is cancelled."""
        while True:
            asked = await self._stored(await self._asked.get())
            if asked.decision is None:  # one of an earlier life may be decided
                await self._decide(asked)

    async def _stored(self, question: str) -> Approval:
        """Return a question from the store, which has it a moment after it was told."""
        while True:
            for asked in self._runs.approvals(self._run_id, undecided=False):
                if asked.id == question:
                    return asked
            await self._clock.sleep(_MOMENT_SECONDS)

    async def _decide(self, asked: Approval) -> None:
        by = whoever()
        if self._yes and asked.kind != "outcome":
            await self._runs.approve(asked.id, f"{by} (--yes)")
        elif self._ask_here:
            with self._leave():
                await self._ask(asked, by)
        elif self._yes:  # else the run ends by itself where nobody can be asked
            self._stuck(asked)

    async def _ask(self, asked: Approval, by: str) -> None:
        what = "was it done?" if asked.kind == "outcome" else "approve?"
        _say(f"\n{_in_full(asked)}\n{what} y, or n and the reason: ")
        while True:
            words = await self._answer(asked.id)
            if words is None:
                _say("left open\n")
                return
            word, _, note = words.strip().partition(" ")
            if word.lower() in YES:
                await self._runs.approve(asked.id, by, note.strip())
                return
            if word.lower() in NO:
                await self._runs.deny(asked.id, by, note.strip())
                return
            _say("y or n: ")

    async def _answer(self, question: str) -> str | None:
        """Return the next line of the terminal; None at its end, or when the question was decided elsewhere."""
        loop = asyncio.get_running_loop()
        line: asyncio.Future[str | None] = loop.create_future()
        given: asyncio.Future[Any] = asyncio.ensure_future(self._given[question].wait())
        terminal = sys.stdin.fileno()

        def read() -> None:
            piece = os.read(terminal, 65536)  # a terminal gives whole lines
            if not line.done():
                line.set_result(piece.decode(errors="replace") if piece else None)

        loop.add_reader(terminal, read)
        try:
            await asyncio.wait({line, given}, return_when=asyncio.FIRST_COMPLETED)
            return line.result() if line.done() else None
        finally:
            loop.remove_reader(terminal)
            given.cancel()


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
