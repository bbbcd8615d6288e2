"""What goes in comes out equal; what could not is refused, with the place where it stands."""

from __future__ import annotations

import math
import random
import string
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from shoal import Task, TaskSpec, TaskStatus
from shoal.errors import PayloadError, PayloadTooLargeError
from shoal.testing.clock import VirtualClock, run_virtual
from tests.support.backend import fresh_store
from tests.support.runtimes import UNLIMITED, running

MEMORY = "sqlite://:memory:"
LETTERS = string.printable + "äß€漢字🦈\u0000\u200d\ufeff\\\"'"


def generated(chance: random.Random, depth: int = 0) -> Any:
    """Return a JSON value, up to five levels deep, with the edges of every kind in it."""
    kind = chance.randrange(7 if depth < 5 else 5)
    if kind == 0:
        return chance.choice([None, True, False])
    if kind == 1:
        return chance.choice([0, -1, 2**63 - 1, -(2**63), 2**64 - 1, 2**53 + 1, chance.getrandbits(62)])
    if kind == 2:
        return chance.choice([0.0, -0.5, 1e308, 5e-324, 0.1 + 0.2, 1e16, chance.uniform(-1e6, 1e6)])
    if kind in (3, 4):
        return "".join(chance.choices(LETTERS, k=chance.randrange(12)))
    if kind == 5:
        return [generated(chance, depth + 1) for _ in range(chance.randrange(5))]
    return {f"{n}{chance.choice(LETTERS)}": generated(chance, depth + 1) for n in range(chance.randrange(5))}


def same(one: Any, other: Any) -> bool:
    """Compare with kinds: 1 is not 1.0 and not True."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.spec("R21")
@pytest.mark.usefixtures("backend")
def test_a_thousand_values_come_back_equal(seed: int, run: Callable[..., Any]) -> None:
    async def main() -> None:
        chance = random.Random(f"data {seed}")
        values = [generated(chance) for _ in range(1000)]

        async def echo(task: Task, context: Any) -> Any:
            value = task.input_data["value"]
            assert same(await context.step("same", lambda: value), value)
            await context.shared.set("last", value)
            assert same(await context.shared.get("last"), value)
            await context.checkpoint({"value": value})
            return value

        async with running(fresh_store(), {"echo": echo}, limits=UNLIMITED) as runtime:
            ids = await runtime.submit_tasks([TaskSpec(name="x", input_data={"value": value}) for value in values])
            for task, value in zip(await runtime.wait_for_tasks(ids), values, strict=True):
                stored = runtime.get_task_status(task.task_id)
                assert task.status is TaskStatus.COMPLETED, task.error_message
                assert same(task.output_data, value) and same(stored.output_data, value)
                assert same(stored.input_data, {"value": value})
                assert stored.checkpoint is not None and same(stored.checkpoint["value"], value)

    run(main)


class Own:
    pass


FORBIDDEN: dict[str, Any] = {
    "set": {1, 2},
    "frozenset": frozenset((1,)),
    "bytes": b"x",
    "datetime": datetime(2026, 1, 1, tzinfo=UTC),
    "Decimal": Decimal("1.5"),
    "Own": Own(),
    "nan": math.nan,
    "inf": -math.inf,
    "64 bits": 2**64,
    "beyond 64 bits": -(2**63) - 1,
    "not text": {1: "one"},
    "surrogate": "\ud800",
    "complex": 1j,
    "function": len,
}


@pytest.mark.spec("R21")
@pytest.mark.parametrize("kind", FORBIDDEN)
def test_each_forbidden_kind_is_refused_with_its_path(kind: str) -> None:
    async def main(clock: VirtualClock) -> None:
        value = FORBIDDEN[kind]

        async def returns_it(task: Task) -> Any:
            return {"items": [0, {"deep": value}]}

        async with running(MEMORY, {"one": returns_it}, clock=clock) as runtime:
            with pytest.raises(PayloadError) as found:
                await runtime.submit_task("x", {"items": [1, 2, 3, value]})
            assert found.value.path == "input_data.items[3]" and "input_data.items[3]" in str(found.value)
            with pytest.raises(PayloadError, match=r"metadata\.why"):
                await runtime.submit_task("x", metadata={"why": value})
            with pytest.raises(PayloadError, match="value"):
                await runtime.shared.set("key", value)
            assert runtime.list_tasks() == [] and await runtime.shared.keys() == []
            task = await runtime.wait_for_task(await runtime.submit_task("x", max_retries=3))
            assert (task.status, task.attempt, task.error_type) == (TaskStatus.FAILED, 1, "PayloadError")
            assert "output_data.items[1].deep" in str(task.error_message)

    run_virtual(main)


@pytest.mark.spec("R21")
def test_tuples_come_back_as_lists_and_too_much_is_refused() -> None:
    async def main(clock: VirtualClock) -> None:
        async def echo(task: Task) -> Any:
            return (task.input_data["pair"], (1, (2,)))

        async with running(MEMORY, {"one": echo}, clock=clock, max_payload_mb=0.001) as runtime:
            task = await runtime.wait_for_task(await runtime.submit_task("x", {"pair": (1, 2)}))
            assert task.output_data == [[1, 2], [1, [2]]]
            with pytest.raises(PayloadTooLargeError) as found:
                await runtime.submit_task("x", {"text": "x" * 1100})
            assert found.value.limit == 1048 and found.value.size > 1100
            around: dict[str, Any] = {}
            around["self"] = around
            with pytest.raises(PayloadError, match="contains itself"):
                await runtime.submit_task("x", around)

    run_virtual(main)
