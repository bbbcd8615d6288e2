"""Supervision, against the tables of OTP's ``supervisor`` documentation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from shoal.kernel.agent import RestartPolicy
from shoal.kernel.ports import Exit
from shoal.kernel.supervision import (
    Action,
    Branch,
    Child,
    ChildSpec,
    Escalate,
    GiveUp,
    RestartWindow,
    Start,
    Stop,
    Strategy,
    Supervision,
    SupervisionTree,
)
from shoal.testing.clock import VirtualClock, run_virtual


async def _unused() -> Child:
    raise AssertionError("the pure part starts nothing")


def _spec(name: str, mode: str = "on_failure", **policy: float) -> ChildSpec:
    return ChildSpec(name=name, start=_unused, policy=RestartPolicy(mode=mode, **policy))  # type: ignore[arg-type]


def _core(strategy: Strategy, *modes: str, escalate: bool = True, **policy: float) -> Supervision:
    children = tuple(_spec(name, mode) for name, mode in zip("abc", modes, strict=True))
    branch = Branch(
        name="tree",
        children=children,
        strategy=strategy,
        escalate=escalate,
        policy=RestartPolicy(**policy),  # type: ignore[arg-type]
    )
    core = Supervision(branch)
    for child in children:
        core.started(child.name)
    return core


# -- the pure part ------------------------------------------------------------------------------------------------

RESTARTED = {
    ("always", True): True,
    ("always", False): True,
    ("on_failure", True): True,
    ("on_failure", False): False,
    ("never", True): False,
    ("never", False): False,
}
"""OTP: a permanent child always, a transient one after an abnormal end, a temporary one never."""

STRATEGIES = {
    Strategy.ONE_FOR_ONE: ((), ("b",)),
    Strategy.ONE_FOR_ALL: (("c", "a"), ("a", "b", "c")),
    Strategy.REST_FOR_ONE: (("c",), ("b", "c")),
}
"""When b ends: who is stopped (the last one first), who is started (the first one first)."""


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize(("mode", "failed"), RESTARTED)
def test_mode_end_and_strategy(strategy: Strategy, mode: str, failed: bool) -> None:
    actions = _core(strategy, "always", mode, "always").decide("b", failed=failed, now=0)
    if not RESTARTED[mode, failed]:
        assert actions == ()
        return
    stopped, started = STRATEGIES[strategy]
    expected: list[Action] = [Stop(stopped)] if stopped else []
    assert list(actions) == [*expected, Start(started, 0.1)]


def test_a_child_that_is_never_restarted_is_stopped_with_the_others_and_stays_so() -> None:
    assert _core(Strategy.ONE_FOR_ALL, "never", "always", "always").decide("b", failed=True, now=0) == (
        Stop(("c", "a")),
        Start(("b", "c"), 0.1),
    )


def test_one_restart_too_many_in_the_window_ends_the_branch() -> None:
    core = _core(Strategy.ONE_FOR_ONE, "always", "always", "always", max_restarts=2, window_seconds=10)
    for name, now in (("a", 0.0), ("b", 5.0)):  # all children count together
        assert isinstance(core.decide(name, failed=True, now=now)[-1], Start)
        core.started(name)
    assert core.decide("c", failed=True, now=9.9) == (Stop(("b", "a")), Escalate("c"))


def test_restarts_spread_wider_than_the_window_go_on_for_ever() -> None:
    core = _core(Strategy.ONE_FOR_ONE, "always", "always", "always", max_restarts=2, window_seconds=10)
    for n in range(100):
        assert core.decide("a", failed=True, now=n * 5.0) != ()
        core.started("a")


def test_without_escalation_a_child_is_given_up_and_the_others_go_on() -> None:
    core = _core(Strategy.ONE_FOR_ONE, "on_failure", "on_failure", "on_failure", escalate=False)
    for n in range(5):
        assert core.decide("a", failed=True, now=float(n)) == (Start(("a",), 0.1 * 2**n),)
        core.started("a")
    assert core.decide("a", failed=True, now=6) == (GiveUp("a"),)
    assert core.decide("b", failed=True, now=6) == (Start(("b",), 0.1),)


def test_waits_grow_to_their_bound_and_a_quiet_window_resets_them() -> None:
    window = RestartWindow(
        RestartPolicy(max_restarts=5, window_seconds=60, initial_seconds=1, factor=3, max_seconds=20)
    )
    assert [window.next_delay(now) for now in range(6)] == [1, 3, 9, 20, 20, None]
    assert window.next_delay(60) == 20, "the first has left the window, four are still in it"
    assert window.next_delay(200) == 1


def test_two_children_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="different names"):
        Supervision(Branch(name="tree", children=(_spec("a"), _spec("a"))))


# -- carrying it out ----------------------------------------------------------------------------------------------


class _Part:
    """A child that writes what happens to it in a log and dies when told to."""

    def __init__(self, log: list[str], name: str) -> None:
        self.exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self.name = name
        self._log = log
        log.append(f"+{name}")

    def die(self) -> None:
        self.exited.set_result(Exit(reason="died"))

    async def stop(self, grace: float) -> None:
        self._log.append(f"-{self.name}")
        if not self.exited.done():
            self.exited.set_result(Exit(reason="stopped"))


class _Parts:
    """Makes children, remembers the living ones, and can refuse the next starts of a name."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.living: dict[str, _Part] = {}
        self.refuse: dict[str, int] = {}

    def starter(self, name: str) -> Callable[[], Awaitable[Child]]:
        async def start() -> Child:
            if self.refuse.get(name, 0):
                self.refuse[name] -= 1
                self.log.append(f"!{name}")
                raise RuntimeError(f"{name} does not start")
            self.living[name] = _Part(self.log, name)
            return self.living[name]

        return start

    def spec(self, name: str, **policy: float) -> ChildSpec:
        return ChildSpec(name=name, start=self.starter(name), policy=RestartPolicy(**policy))  # type: ignore[arg-type]

    def take_log(self) -> str:
        text, self.log[:] = " ".join(self.log), []
        return text


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Strategy.ONE_FOR_ONE, "+b"),
        (Strategy.ONE_FOR_ALL, "-c -a +a +b +c"),
        (Strategy.REST_FOR_ONE, "-c +b +c"),
    ],
)
def test_a_death_is_answered_after_the_wait_and_all_stop_in_reverse(strategy: Strategy, expected: str) -> None:
    async def main(clock: VirtualClock) -> None:
        parts = _Parts()
        branch = Branch(name="tree", children=tuple(parts.spec(n) for n in "abc"), strategy=strategy)
        tree = await SupervisionTree(branch, clock).start()
        assert parts.take_log() == "+a +b +c"
        parts.living["b"].die()
        await clock.sleep(0.099)
        stopped = parts.take_log().split()
        assert all(word.startswith("-") for word in stopped)
        await clock.sleep(0.01)
        assert " ".join([*stopped, *parts.take_log().split()]) == expected
        await tree.stop()
        assert parts.take_log() == "-c -b -a"
        assert tree.exited.result().reason == "stopped"

    run_virtual(main)


def test_others_die_and_restart_while_one_waits_for_its_restart() -> None:
    async def main(clock: VirtualClock) -> None:
        parts = _Parts()
        children = (parts.spec("slow", initial_seconds=20), parts.spec("quick"))
        tree = await SupervisionTree(Branch(name="tree", children=children), clock).start()
        parts.take_log()
        parts.living["slow"].die()
        await clock.sleep(1)
        parts.living["quick"].die()
        await clock.sleep(1)
        assert parts.take_log() == "+quick"
        await clock.sleep(19)
        assert parts.take_log() == "+slow"
        await tree.stop()

    run_virtual(main)


def test_a_start_that_fails_first_stops_those_before_it_and_raises() -> None:
    async def main(clock: VirtualClock) -> None:
        parts = _Parts()
        parts.refuse["c"] = 1
        branch = Branch(name="tree", children=tuple(parts.spec(n) for n in "abc"))
        with pytest.raises(RuntimeError, match="c does not start"):
            await SupervisionTree(branch, clock).start()
        assert parts.take_log() == "+a +b !c -b -a"

    run_virtual(main)


def test_a_restart_that_fails_counts_as_a_death_and_those_after_it_wait() -> None:
    async def main(clock: VirtualClock) -> None:
        parts = _Parts()
        branch = Branch(name="tree", children=tuple(parts.spec(n) for n in "ab"), strategy=Strategy.ONE_FOR_ALL)
        tree = await SupervisionTree(branch, clock).start()
        parts.refuse["a"] = 2
        parts.living["b"].die()
        await clock.sleep(10)
        assert parts.take_log() == "+a +b -a !a !a +a +b"
        await tree.stop()

    run_virtual(main)


def test_a_crash_loop_ends_after_its_restarts_with_growing_waits() -> None:
    async def main(clock: VirtualClock) -> None:
        parts = _Parts()
        seen: list[tuple[float, Action]] = []
        branch = Branch(name="agents", children=(parts.spec("bad"), parts.spec("good")), escalate=False)
        tree = SupervisionTree(branch, clock, lambda _, action: seen.append((clock.monotonic(), action)))
        await tree.start()
        for _ in range(6):
            parts.living["bad"].die()
            await clock.sleep(5)
        assert [action for _, action in seen] == [*(Start(("bad",), 0.1 * 2**n) for n in range(5)), GiveUp("bad")]
        assert not tree.exited.done()
        assert not parts.living["good"].exited.done()
        await tree.stop()

    run_virtual(main)


def test_a_branch_that_fails_is_restarted_by_the_branch_above_it() -> None:
    async def main(clock: VirtualClock) -> None:
        parts = _Parts()
        inner = Branch(name="inner", children=(parts.spec("x"), parts.spec("y")), policy=RestartPolicy(max_restarts=1))
        outer = Branch(name="outer", children=(parts.spec("a"), inner, parts.spec("z")), strategy=Strategy.REST_FOR_ONE)
        tree = await SupervisionTree(outer, clock).start()
        assert parts.take_log() == "+a +x +y +z"
        parts.living["x"].die()
        await clock.sleep(1)
        assert parts.take_log() == "+x"
        parts.living["x"].die()
        await clock.sleep(1)
        assert parts.take_log() == "-y -z +x +y +z"
        await tree.stop()
        assert parts.take_log() == "-z -y -x -a"

    run_virtual(main)


def test_the_top_ends_as_died_when_nothing_helps() -> None:
    async def main(clock: VirtualClock) -> None:
        parts = _Parts()
        inner = Branch(name="inner", children=(parts.spec("x"),), policy=RestartPolicy(max_restarts=0))
        outer = Branch(name="outer", children=(parts.spec("a"), inner), policy=RestartPolicy(max_restarts=2))
        tree = await SupervisionTree(outer, clock).start()
        for _ in range(3):
            parts.living["x"].die()
            await clock.sleep(60 / 10)
        assert (await tree.exited).reason == "died"
        assert parts.log.count("+x") == 3
        assert parts.living["a"].exited.done()
        await tree.stop()

    run_virtual(main)


def test_stopping_while_a_restart_waits_starts_nothing_more() -> None:
    async def main(clock: VirtualClock) -> None:
        parts = _Parts()
        tree = await SupervisionTree(Branch(name="tree", children=(parts.spec("a"),)), clock).start()
        parts.living["a"].die()
        await clock.sleep(0.05)
        await tree.stop()
        await clock.sleep(10)
        assert parts.take_log() == "+a"

    run_virtual(main)
