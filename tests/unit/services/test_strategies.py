"""Choosing one instance: turns over joins and leaves, shares, rings."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.kernel.clock import RealClock
from shoal.services.info import AgentRecord
from shoal.services.strategies import STRATEGIES, Choose, Wish, strategy_of
from tests.support.instances import record, records

NAMES = [f"worker/{number:02}" for number in range(12)]


def made(strategy: Any, in_flight: dict[str, int] | None = None, seed: int = 1) -> Choose:
    clock = RealClock(seed)
    return strategy_of(strategy, in_flight if in_flight is not None else {}, lambda: clock)


def chosen(choose: Choose, among: list[AgentRecord], wish: Wish | None = None) -> str:
    found = choose(among, wish or Wish())
    assert found is not None
    return found.instance


@pytest.mark.spec("S16")
@given(st.lists(st.sets(st.sampled_from(NAMES), min_size=1), min_size=2, max_size=60), st.booleans())
def test_nobody_is_skipped_twice_in_a_row_while_others_join_and_leave(sets: list[set[str]], backwards: bool) -> None:
    """Between two turns of any instance, everyone who was there all the time has had a turn."""
    choose = made("round_robin")
    picks = [chosen(choose, records(*sorted(present, reverse=backwards))) for present in sets]
    for first, name in enumerate(picks):
        again = next((at for at in range(first + 1, len(picks)) if picks[at] == name), None)
        if again is not None:
            stayed = set.intersection(*sets[first : again + 1]) - {name}
            assert stayed <= set(picks[first + 1 : again]), "one who stayed was skipped"


@given(st.sets(st.sampled_from(NAMES), min_size=1), st.integers(1, 5))
def test_who_stays_has_equal_turns(present: set[str], rounds: int) -> None:
    choose = made("round_robin")
    picks = Counter(chosen(choose, records(*present)) for _ in range(rounds * len(present)))
    assert picks == dict.fromkeys(present, rounds)


def test_joining_and_leaving_moves_nobody_elses_turn() -> None:
    choose = made("round_robin")
    assert [chosen(choose, records("a", "c", "e")) for _ in range(2)] == ["a", "c"]
    assert chosen(choose, records("a", "b", "d", "e")) == "d"  # c has left, b and d have come
    assert [chosen(choose, records("a", "b", "d", "e")) for _ in range(3)] == ["e", "a", "b"]


def test_each_group_has_its_own_turns() -> None:
    choose = made("round_robin")
    picks = [
        chosen(choose, records(*names), Wish(group=group))
        for _ in range(3)
        for group, names in (("x", ["x1", "x2", "x3"]), ("y", ["y1", "y2", "y3"]))
    ]
    assert picks == ["x1", "y1", "x2", "y2", "x3", "y3"]


def test_least_loaded_counts_own_requests_and_reported_load() -> None:
    in_flight = {"a": 1, "b": 2}
    choose = made("least_loaded", in_flight)
    assert chosen(choose, [record("a", load=1.5), record("b", load=0.0), record("c", load=2.5)]) == "b"
    in_flight["b"] = 5
    assert chosen(choose, [record("a", load=1.4), record("b"), record("c", load=2.3)]) == "c"


def test_equally_loaded_ones_take_turns() -> None:
    choose = made("least_loaded", {"b": 1})
    assert [chosen(choose, records("a", "b", "c", "d")) for _ in range(6)] == ["a", "c", "d", "a", "c", "d"]


def test_power_of_two_never_takes_the_most_loaded_of_all() -> None:
    choose = made("power_of_two", {"a": 3, "b": 2, "c": 1})
    picks = Counter(chosen(choose, records("a", "b", "c")) for _ in range(3000))
    assert set(picks) == {"b", "c"}
    assert 1800 < picks["c"] < 2200, "it is the less loaded one of two pairs of three"


def test_random_takes_each_as_often_and_the_same_with_the_same_seed() -> None:
    both = made("random"), made("random")
    one, other = ([chosen(choose, records(*NAMES)) for _ in range(1200)] for choose in both)
    assert one == other
    assert all(60 < count < 140 for count in Counter(one).values())
    assert len(Counter(one)) == len(NAMES)


@pytest.mark.spec("S18")
def test_an_eleventh_instance_moves_its_share_of_the_keys_and_no_more() -> None:
    choose = made("consistent_hash")
    ten = records(*(f"worker/{number}" for number in range(10)))
    eleven = [*ten, record("worker/10")]
    before = {key: chosen(choose, ten, Wish(key=f"key {key}")) for key in range(10_000)}
    after = {key: chosen(choose, eleven, Wish(key=f"key {key}")) for key in range(10_000)}
    moved = {key for key in before if before[key] != after[key]}
    assert 500 <= len(moved) <= 1500
    assert {after[key] for key in moved} == {"worker/10"}, "between the others nothing moves"
    assert max(Counter(before.values()).values()) / 1000 <= 1.25
    assert max(Counter(after.values()).values()) / (10_000 / 11) <= 1.25
    again = {key: chosen(choose, list(reversed(ten)), Wish(key=f"key {key}")) for key in range(10_000)}
    assert again == before, "the same key meets the same worker"


@given(st.sets(st.text(min_size=1, max_size=20), min_size=3, max_size=12), st.data())
def test_who_leaves_moves_only_its_own_keys(names: set[str], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(sorted(names)))
    choose = made("consistent_hash")
    for key in range(100):
        wish = Wish(key=key)
        before, after = chosen(choose, records(*names), wish), chosen(choose, records(*(names - {gone})), wish)
        assert after == before or before == gone
        assert chosen(choose, records(*names), Wish(key=key, excluded={gone})) == after, "excluded is as good as gone"


def test_keys_are_equal_as_json_values_are() -> None:
    choose = made("consistent_hash")
    among = records(*NAMES)
    for number in range(50):
        one = chosen(choose, among, Wish(key={"a": number, "b": [1, "x"]}))
        assert one == chosen(choose, among, Wish(key={"b": [1, "x"], "a": number}))


def test_the_ring_forgets_who_has_long_left() -> None:
    choose: Any = made("consistent_hash")
    for number in range(50):
        chosen(choose, records(f"a{number}", f"b{number}"), Wish(key=1))
    assert len(choose._points) <= 10
    assert len(choose._rings) <= 4


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_excluded_ones_are_never_chosen(strategy: str) -> None:
    choose = made(strategy)
    among = records(*NAMES)
    picks = {chosen(choose, among, Wish(key=key, excluded=set(NAMES[3:]))) for key in range(200)}
    assert picks == set(NAMES[:3])
    assert choose(among, Wish(key=1, excluded=set(NAMES))) is None
    assert choose(among[:1], Wish(key=1, excluded={NAMES[0]})) is None


def test_a_callable_of_the_users_own() -> None:
    choose = made(lambda among, key: among[key])
    assert chosen(choose, records("a", "b", "c"), Wish(key=1)) == "b"
    assert chosen(choose, records("a", "b", "c"), Wish(key=1, excluded={"a"})) == "c"
    with pytest.raises(TypeError, match="one of the records"):
        made(lambda among, key: record("stranger"))(records("a"), Wish())


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'round_robin'"):
        made("roundrobin")
    with pytest.raises(ValueError, match="must be one of"):
        made(7)


@pytest.mark.parametrize("strategy", ["round_robin", "least_loaded"])
def test_asking_ever_new_targets_keeps_no_ever_growing_turns(strategy: str) -> None:
    choose: Any = made(strategy)
    turns = choose if strategy == "round_robin" else choose._turns
    for number in range(1500):
        chosen(choose, records("a"), Wish(group=f"an id {number}"))
    for number in range(1500):
        chosen(choose, records("a", "b"), Wish(group=f"service {number}"))
    assert len(turns._groups) <= 1000
    assert [chosen(choose, records("a", "b"), Wish(group="service 1499")) for _ in "12"] == ["b", "a"]
    assert choose(records("a"), Wish(excluded=("a",), group="an id 1")) is None
