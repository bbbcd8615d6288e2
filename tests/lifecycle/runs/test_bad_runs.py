"""Bad input to runs: each gets a clear answer, and nothing is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime, Budget
from shoal.errors import (
    ApprovalNotFoundError,
    BudgetExceededError,
    LoopDetectedError,
    PayloadError,
    RunActiveError,
    RunChangedError,
    RunConflictError,
    RunError,
    RunNotFoundError,
)
from shoal.kernel.run import RunOptions
from shoal.orchestration import Pipeline
from tests.lifecycle.runs.compositions import Logged, gated
from tests.support.backend import store_at

pytestmark = pytest.mark.spec("O50")


def line(folder: Path, *names: str, name: str = "line") -> Pipeline:
    return Pipeline([Logged(each, folder / "calls.log") for each in names or "ab"], name=name)


def told(error: BaseException) -> str:
    return "\n".join([str(error), *getattr(error, "__notes__", ())])


def test_an_unknown_run_is_named_by_every_verb(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            runs = runtime.runs

            async def follow() -> None:
                async for _ in runs.events("nope"):
                    pass

            async def look(verb: Callable[[str], Any]) -> None:
                verb("nope")

            asked: list[Callable[[], Any]] = [
                lambda: look(runs.get),
                lambda: look(runs.steps),
                follow,
                lambda: runs.cancel("nope"),
                lambda: runs.delete("nope"),
                lambda: runs.fork("nope", "a"),
                lambda: runs.cassette("nope", tmp_path / "cassette.jsonl"),
            ]
            for verb in asked:
                with pytest.raises(RunNotFoundError) as refused:
                    await verb()
                assert str(refused.value) == "there is no run 'nope'" and refused.value.run_id == "nope"
                assert isinstance(refused.value, LookupError)
            assert runs.list() == [] and not (tmp_path / "cassette.jsonl").exists()

    run(main)


def test_an_unknown_question_and_one_that_is_decided(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            for verb in (runtime.runs.approve, runtime.runs.deny):
                with pytest.raises(ApprovalNotFoundError, match=r"^there is no approval 'nope'$"):
                    await verb("nope", "ada")
                with pytest.raises(ValueError, match=r"by must say who decides"):
                    await verb("nope", "")
            budget = Budget(max_calls=1, on_exhausted="ask")
            handle = runtime.run(line(tmp_path), "x", run_id="r", budget=budget)
            while not runtime.runs.approvals("r"):
                await asyncio.sleep(0.01)
            (asked,) = runtime.runs.approvals()
            decisions = await asyncio.gather(
                runtime.runs.approve(asked.id, "ada", "fine"), runtime.runs.deny(asked.id, "ben", "no")
            )
            assert [(d.decision, d.decided_by, d.note) for d in decisions] == [("approved", "ada", "fine")] * 2
            assert (await handle).success
            late = await runtime.runs.deny(asked.id, "cyd")
            assert (late.decision, late.decided_by) == ("approved", "ada")

    run(main)


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"run_id": ""}, ValueError, "run_id must be text of 1 to 200 characters without '/', not ''"),
    ({"run_id": "a/b"}, ValueError, "without '/', not 'a/b'"),
    ({"run_id": "x" * 201}, ValueError, "1 to 200 characters"),
    ({"run_id": 7}, ValueError, "not 7"),
    ({"budget": 5}, TypeError, "budget must be a Budget, not int"),
    ({"options": {"seed": 1}}, TypeError, "options must be RunOptions, not dict"),
    ({"context": None}, TypeError, "context must be text, not NoneType"),
    ({"user_id": 3}, TypeError, "user_id must be text, not int"),
    ({"input": object()}, PayloadError, "input"),
]


@pytest.mark.parametrize(("given", "kind", "text"), WRONG)
def test_what_a_run_cannot_be_started_with(
    tmp_path: Path, run: Callable[..., Any], given: dict[str, Any], kind: type[Exception], text: str
) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            options = {"input": "x"} | given
            with pytest.raises(kind) as refused:
                runtime.run(line(tmp_path), options.pop("input"), **options)
            assert text in str(refused.value)
            assert runtime.runs.list() == [] and not (tmp_path / "calls.log").exists()

    run(main)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"on_wait": "sleep"}, "RunOptions(on_wait='sleep'): it must be 'wait' or 'return'"),
        ({"on_change": "ignore"}, "RunOptions(on_change='ignore'): it must be 'error' or 'rerun'"),
        ({"seed": "x"}, "RunOptions(seed='x'): it must be a whole number, or None"),
        ({"seed": True}, "RunOptions(seed=True)"),
        ({"label": 5}, "RunOptions(label=5): it must be text"),
        ({"tokens": 1}, "RunOptions(tokens=1): it must be True or False"),
    ],
)
def test_options_are_checked_when_they_are_made(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError) as refused:
        RunOptions(**given)
    assert text in str(refused.value)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"max_cost": -1}, "Budget(max_cost=-1): it must be a number from 0, or None"),
        ({"max_calls": 1.5}, "Budget(max_calls=1.5): it must be a whole number from 0, or None"),
        ({"max_tokens": True}, "Budget(max_tokens=True)"),
        ({"max_seconds": float("nan")}, "Budget(max_seconds=nan)"),
        ({"warn_at": (2.0,)}, "warn_at and cheap_at are shares from 0 to 1"),
        ({"cheap_at": -0.1}, "warn_at and cheap_at are shares from 0 to 1"),
        ({"on_exhausted": "cry"}, "Budget(on_exhausted='cry'): it must be 'stop' or 'ask'"),
        ({"unpriced": "maybe"}, "Budget(unpriced='maybe'): it must be 'refuse' or 'allow'"),
    ],
)
def test_budgets_are_checked_when_they_are_made(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError) as refused:
        Budget(**given)
    assert text in str(refused.value)


def test_another_input_or_pattern_under_a_known_id(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            await runtime.run(line(tmp_path), "x", run_id="r")
            with pytest.raises(RunConflictError, match=r"^run 'r' was begun with another input$"):
                await runtime.run(line(tmp_path), "y", run_id="r")
            with pytest.raises(RunConflictError, match=r"^run 'r' was begun with another pattern \('line'\)$"):
                await runtime.run(line(tmp_path, name="other"), "x", run_id="r")
            handle = runtime.run(gated(tmp_path / "calls.log"), "x", run_id="alive")
            with pytest.raises(RunConflictError, match=r"^run 'alive' is under way with another pattern or input$"):
                runtime.run(gated(tmp_path / "calls.log"), "y", run_id="alive")
            (tmp_path / "go").touch()
            assert (await handle).success
            with pytest.raises(RunNotFoundError, match=r"^run 'r' has no step 'nope'$"):
                await runtime.runs.fork("r", "nope")

    run(main)


def test_a_run_that_is_alive_is_not_deleted(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            handle = runtime.run(gated(tmp_path / "calls.log"), "x", run_id="r")
            while not runtime.runs.list():
                await asyncio.sleep(0.01)
            with pytest.raises(RunActiveError) as refused:
                await runtime.runs.delete("r")
            assert refused.value.node == runtime.node_id
            (tmp_path / "go").touch()
            assert (await handle).success
            await runtime.runs.delete("r")
            assert runtime.runs.list() == []

    run(main)


@pytest.mark.parametrize("bad", [("", lambda: None), (7, lambda: None), ("p", "no function")])
def test_a_pattern_is_registered_with_a_name_and_a_function(
    tmp_path: Path, run: Callable[..., Any], bad: tuple[Any, Any]
) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            with pytest.raises((ValueError, TypeError), match=r"the name of a pattern must be text|must be a function"):
                runtime.runs.register(*bad)

    run(main)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            RunActiveError("r", "node-1"),
            (
                "run 'r' is being carried out by node 'node-1'\n"
                "Follow it with runtime.runs.events, or cancel it with runtime.runs.cancel."
            ),
        ),
        (
            RunChangedError("r", "1:b/chat"),
            (
                "step '1:b/chat' of run 'r' was recorded with another input\n"
                "Use RunOptions(on_change='rerun') to do it and all that came after it anew, "
                "or runtime.runs.fork(run_id, before=step) for a run of its own."
            ),
        ),
        (
            BudgetExceededError("max_cost", 0.5, 0.25, "r2/0:Optimist"),
            (
                "budget exceeded: max_cost of r2/0:Optimist: 0.5 used, 0.25 more needed\n"
                "Go on with the same run_id and a larger budget: nothing that is finished is paid for again."
            ),
        ),
        (
            BudgetExceededError("max_calls", 5.0, 1.0),
            (
                "budget exceeded: max_calls of the run: 5 used, 1 more needed\n"
                "Go on with the same run_id and a larger budget: nothing that is finished is paid for again."
            ),
        ),
        (LoopDetectedError("handoff", "A to B"), "loop detected (handoff): A to B"),
        (RunError("it is odd", run_id="r", note="Do better."), "it is odd\nDo better."),
    ],
)
def test_the_text_of_every_error(error: RunError, text: str) -> None:
    assert told(error) == text
    assert isinstance(error, RunError) and isinstance(error, RuntimeError)
