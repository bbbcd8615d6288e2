"""The checker of histories: a good one has no faults, and each forged one is refused for what was forged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest

from shoal import Event, Severity, Task, TaskStatus
from tests.support.history import History, Line, faults, handovers

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOLD = ("task_enqueued", "task_assigned", "task_started")
AGAIN = ("task_interrupted", "task_assigned", "task_started", "task_completed")


def _events() -> list[Event]:
    kinds = [*((kind, "a") for kind in (*TOLD, *AGAIN)), *((kind, "b") for kind in (*TOLD, "task_completed"))]
    return [
        Event(event_id=number, timestamp=NOW, event_type=kind, severity=Severity.INFO, task_id=task, node_id="one")
        for number, (kind, task) in enumerate(kinds, 1)
    ]


def _tasks() -> list[Task]:
    return [
        Task(
            task_id=task,
            name="work",
            created_at=NOW,
            status=TaskStatus.COMPLETED,
            attempt=attempts,
            output_data={"k": "v"} if task == "a" else None,
        )
        for task, attempts in (("a", 2), ("b", 1))
    ]


def _diary() -> list[Line]:
    """Task ``a`` is cut short by the death of ``one`` and done by ``two``; both talk, and each has the lock in turn."""
    done = [
        Line(at=1.0, kind="begin", life="one", task="a", attempt=1),
        Line(at=1.1, kind="step", life="one", task="a", attempt=1, key="k", value="lost"),
        Line(at=1.2, kind="took", life="one", task="a", attempt=1, token=1),
        Line(at=1.3, kind="gave", life="one", task="a", attempt=1, token=1),
        *_talk("m1", 1, 1.4),
        *_talk("m2", 2, 1.5),
        Line(at=2.0, kind="killed", life="one"),
        Line(at=4.0, kind="begin", life="two", task="a", attempt=2),
        Line(at=4.1, kind="step", life="two", task="a", attempt=2, key="k", value="v"),
        Line(at=4.2, kind="recorded", life="two", task="a", attempt=2, key="k", value="v"),
        Line(at=4.3, kind="took", life="two", task="a", attempt=2, token=2),
        Line(at=4.4, kind="gave", life="two", task="a", attempt=2, token=2),
        Line(at=4.5, kind="begin", life="two", task="b", attempt=1),
    ]
    return done


def _talk(message: str, number: int, at: float, to: str = "ear") -> list[Line]:
    said = Line(
        at=at, kind="said", life="one", sender="one", to=to, message=message, number=number, durable=number % 2 == 0
    )
    return [said, msgspec.structs.replace(said, kind="heard", life="two", at=at + 0.01)]


def _good() -> History:
    return History(
        diary=_diary(),
        tasks=_tasks(),
        events=_events(),
        acknowledged=["a", "b"],
        followed=list(range(1, 12)),
        lease=2.0,
    )


def _with(history: History, *lines: Line) -> History:
    return msgspec.structs.replace(history, diary=[*history.diary, *lines])


def _without(history: History, **fields: object) -> History:
    gone = [line for line in history.diary if all(getattr(line, name) == value for name, value in fields.items())]
    assert gone
    return msgspec.structs.replace(history, diary=[line for line in history.diary if line not in gone])


def _lost(history: History) -> History:
    return msgspec.structs.replace(history, acknowledged=["a", "b", "c"])


def _unfinished(history: History) -> History:
    tasks = [history.tasks[0], msgspec.structs.replace(history.tasks[1], status=TaskStatus.FAILED)]
    return msgspec.structs.replace(history, tasks=tasks)


def _doubled_completion(history: History) -> History:
    again = msgspec.structs.replace(history.events[-1], event_id=12)
    return msgspec.structs.replace(history, events=[*history.events, again], followed=list(range(1, 13)))


def _reordered(history: History) -> History:
    heard = [line for line in history.diary if line.kind == "heard"]
    rest = [line for line in history.diary if line.kind != "heard"]
    return msgspec.structs.replace(history, diary=[*rest, *reversed(heard)])


def _missed(history: History) -> History:
    return msgspec.structs.replace(history, followed=[1, 2, 4, 5, 6, 7, 8, 9, 10, 11])


def _seen_twice(history: History) -> History:
    return msgspec.structs.replace(history, followed=[1, 2, 2, *range(3, 12)])


def _late(history: History) -> History:
    later = [msgspec.structs.replace(line, at=line.at + 20) if line.at >= 4 else line for line in history.diary]
    return msgspec.structs.replace(history, diary=later)


def _overlapping(history: History) -> History:
    gave = next(line for line in history.diary if line.kind == "gave" and line.token == 1)
    return _with(_without(history, kind="gave", token=1), msgspec.structs.replace(gave, at=5.0))


def _twice_lost(history: History) -> History:
    return msgspec.structs.replace(
        history,
        events=[
            *history.events,
            msgspec.structs.replace(history.events[3], event_id=12),
        ],
        followed=list(range(1, 13)),
    )


_STEP = Line(at=5.0, kind="step", life="two", task="a", attempt=2, key="k", value="v")
_OTHER = Line(at=5.0, kind="recorded", life="two", task="a", attempt=2, key="k", value="other")
_STALE = Line(at=5.0, kind="tick", life="one", task="a", attempt=1)
_FROZEN = Line(at=2.0, kind="frozen", life="one")
_AGAIN = Line(at=5.0, kind="begin", life="two", task="b", attempt=1)
_MORE = Line(at=5.0, kind="begin", life="two", task="b", attempt=2)
_TOKEN = Line(at=5.0, kind="took", life="two", task="b", attempt=1, token=1)
_OPEN = Line(at=5.0, kind="took", life="two", task="b", attempt=1, token=3)
_SAID = Line(at=5.0, kind="said", life="two", sender="two", to="listener-n2", message="m3", number=1)
_HEARD = Line(at=5.0, kind="heard", life="two", sender="one", to="ear", message="m2", number=2, durable=True)

FORGED: dict[str, tuple[Callable[[History], History], str]] = {
    "a lost task": (_lost, "task c was acknowledged and is not in the store"),
    "an unfinished task": (_unfinished, "task b was acknowledged and is failed"),
    "a task that nobody did": (lambda h: _without(h, kind="begin", task="b"), "task b is completed and nobody"),
    "a story that cannot be": (_doubled_completion, "the story of a task cannot be"),
    "a double step": (lambda h: _with(h, _STEP), "'k' of task a was done again after it was recorded"),
    "a step with two results": (lambda h: _with(h, _OTHER), "'k' of task a was recorded with two values"),
    "a step done twice in an attempt": (
        lambda h: _without(_with(h, _STEP, _STEP), kind="recorded"),
        "'k' of task a was done 4 times in 2 attempts",
    ),
    "an attempt made twice": (lambda h: _with(h, _AGAIN), "attempt 1 of task b began 2 times"),
    "a loss too few": (lambda h: _with(h, _MORE), "task b was executed 2 times and lost 0 times"),
    "two losses with one node": (_twice_lost, "task a was lost 2 times with the one node one"),
    "an effect of a dead attempt": (lambda h: _with(h, _STALE), "tick of attempt 1 of task a in one after attempt 2"),
    "two effects of a frozen one": (lambda h: _with(h, _FROZEN, _STALE, _STALE), "tick of attempt 1 of task a in one"),
    "a frozen one that records": (
        lambda h: _with(h, _FROZEN, msgspec.structs.replace(_STALE, kind="recorded", key="k", value="v")),
        "recorded of attempt 1 of task a in one",
    ),
    "work that lies about": (_late, "22.0 s passed until a dead node's work went on"),
    "a lost message": (
        lambda h: _without(h, kind="heard", number=2),
        "durable message 2 of one to ear was acknowledged",
    ),
    "a plain message lost in silence": (
        lambda h: _with(h, Line(at=5.0, kind="up", life="two", node="n2"), _SAID),
        "message 1 of two to listener-n2 was never handled",
    ),
    "a message handled twice": (lambda h: _with(h, _HEARD), "message m2 was handled more than once by ear in two"),
    "reordered messages": (_reordered, "ear heard 1 of one after 2"),
    "overlapping holders": (_overlapping, "one held token 1 while two held token 2"),
    "a token that falls": (lambda h: _with(h, _TOKEN), "token 1 came after 2"),
    "a lock that fades": (lambda h: _with(h, _OPEN), "two lost the lock of token 3, and nothing was done to it"),
    "a missed event": (_missed, "the follower missed 1 events, the first is 3"),
    "an event seen twice": (_seen_twice, "event 2 comes after 2 in what the follower tells"),
}


def test_a_good_history_has_no_faults() -> None:
    assert faults(_good()) == []
    assert handovers(_good()) == [2.0]


def test_one_effect_of_a_frozen_attempt_is_no_fault() -> None:
    assert faults(_with(_good(), _FROZEN, _STALE)) == []


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_history_is_refused(what: str) -> None:
    forge, expected = FORGED[what]
    found = faults(forge(_good()))
    assert any(expected in fault for fault in found), found
