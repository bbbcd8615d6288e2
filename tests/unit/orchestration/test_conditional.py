"""A classifier, a router, and the branches."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from shoal.kernel.budget import Budget
from shoal.orchestration import ConditionalPipeline, ParallelAgents
from tests.support.replay import check_every_death
from tests.support.speakers import Calls, Speaker, virtual


def _desk(calls: Calls, router: Any = None, **branches: list[Any]) -> ConditionalPipeline:
    given = branches or {"billing": [Speaker("Cashier", None, calls), Speaker("Clerk", None, calls)]}
    return ConditionalPipeline(
        Speaker("Classifier", lambda text: text.split()[0], calls), given, router or (lambda text: text), step_timeout=5
    )


@pytest.mark.spec("O14")
def test_the_named_branch_works_on_the_input() -> None:
    calls = Calls()
    result = virtual(lambda clock: _desk(calls).run("billing please"))
    assert (result.route, result.content, result.success) == ("billing", "Clerk(Cashier(billing please))", True)
    assert [step.agent_name for step in result.steps] == ["Classifier", "Cashier", "Clerk"]
    assert calls.places() == ["0:Classifier", "billing/0:Cashier", "billing/1:Clerk"]


@pytest.mark.spec("O14")
def test_an_unknown_name_goes_to_the_default_and_without_one_the_classifier_has_the_last_word() -> None:
    calls = Calls()
    default = _desk(calls, a=[Speaker("A", None, calls)], default=[Speaker("Anyone", None, calls)])
    result = virtual(lambda clock: default.run("poetry please"))
    assert (result.route, result.content) == ("default", "Anyone(poetry please)")
    result = virtual(lambda clock: _desk(calls).run("poetry please"))
    assert (result.route, result.content, result.success, len(result.steps)) == (None, "poetry", True, 1)


@pytest.mark.spec("O14", "O50")
@pytest.mark.parametrize(
    ("router", "error"),
    [
        (lambda text: {}[text], "router: KeyError: 'billing'"),
        (lambda text: 3, "router: TypeError: the function at route returned int, expected str"),
    ],
)
def test_a_router_that_fails_ends_it(router: Any, error: str) -> None:
    calls = Calls()
    result = virtual(lambda clock: _desk(calls, router).run("billing please"))
    assert (result.success, result.error, result.route, result.content) == (False, error, None, "")
    assert calls.places() == ["0:Classifier"]


def test_a_router_may_be_async_and_agents_may_fail() -> None:
    async def router(text: str) -> str:
        return "bad"

    calls = Calls()
    desk = _desk(calls, router, bad=[Speaker("Bad", OSError("down"), calls), Speaker("Next", None, calls)])
    result = virtual(lambda clock: desk.run("x"))
    assert (result.route, result.success, result.error, result.content) == ("bad", False, "down", "")
    assert [step.success for step in result.steps] == [True, False]
    broken = ConditionalPipeline(Speaker("C", OSError("down")), {"a": [Speaker("A")]}, str)
    result = virtual(lambda clock: broken.run("x"))
    assert (result.route, result.success, result.error) == (None, False, "down")


@pytest.mark.parametrize(
    ("branches", "router", "kind", "text"),
    [
        ({}, str, ValueError, "branches is empty: give at least one, by name"),
        ([], str, TypeError, "branches must be a dict of name to agents, not list"),
        ({"a": []}, str, ValueError, "branch 'a': Pipeline needs at least 1 agent, got 0"),
        ({"a": [None]}, str, TypeError, "branch 'a': agent 0 (NoneType) has no async chat(message)"),
        ({3: [Speaker("A")]}, str, ValueError, "the name of a branch must be text, not 3"),
        ({"a": [Speaker("A")]}, "a", TypeError, "router must be a function of the text, not str"),
    ],
)
@pytest.mark.spec("O50")
def test_bad_settings_are_refused(branches: Any, router: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        ConditionalPipeline(Speaker("C"), branches, router)
    assert str(caught.value) == text


def _wide(calls: Calls) -> ConditionalPipeline:
    both = ParallelAgents([Speaker("p", None, calls, seconds=1, cost=1.0), Speaker("q", None, calls, seconds=2)])
    return _desk(calls, billing=[both, Speaker("Clerk", None, calls, cost=1.0)])


def test_it_dies_anywhere_and_goes_on() -> None:
    assert check_every_death(_wide, "billing x") >= 15


@pytest.mark.spec("O19", "O30")
def test_costs_and_budgets() -> None:
    assert virtual(lambda clock: _wide(Calls()).run("billing x")).total_cost == 2.0
    for allowed in range(5):
        calls = Calls()
        run = functools.partial(_wide(calls).run, "billing x", budget=Budget(max_calls=allowed))
        result = virtual(lambda clock, run=run: run())  # type: ignore[misc]
        assert len(calls) == allowed
        assert result.stopped == ("budget" if allowed < 4 else None)
        assert (result.content != "") == (allowed > 0)
