"""The checker of histories: a good one has no faults, and each forged one is refused for what was forged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from shoal import Budget, Event, Severity, Task, TaskStatus
from shoal.kernel.run import RunRecord, RunStatus
from tests.support.history import WORKS, History, Line, handovers, struck_work
from tests.support.promises import faults

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOLD = ("task_enqueued", "task_assigned", "task_started")
AGAIN = ("task_interrupted", "task_assigned", "task_started", "task_completed")


OTHERS = tuple(work for work in WORKS if work not in ("steps", "locked"))


def _events() -> list[Event]:
    kinds = [*((kind, "a") for kind in (*TOLD, *AGAIN)), *((kind, "b") for kind in (*TOLD, "task_completed"))]
    kinds += [(kind, work) for work in OTHERS for kind in _story(work)]
    return [
        Event(
            event_id=number,
            timestamp=NOW,
            event_type=kind,
            severity=Severity.INFO,
            task_id=task,
            node_id="one",
            details={"attempt": 1},
        )
        for number, (kind, task) in enumerate(kinds, 1)
    ]


def _story(work: str) -> tuple[str, ...]:
    again = ("task_retrying", "task_assigned", "task_started") if work == "flaky" else ()
    return (*TOLD, *again, "task_completed")


def _tasks() -> list[Task]:
    done: dict[str, Any] = {"name": "work", "created_at": NOW, "status": TaskStatus.COMPLETED}
    a = Task(task_id="a", attempt=2, output_data={"k": "v"}, idempotency_key="key a", **done)
    b = Task(task_id="b", attempt=1, dependencies=("a",), idempotency_key="key b", **done)
    rest = [
        Task(task_id=work, attempt=1 + (work == "flaky"), retry_count=int(work == "flaky"), **done) for work in OTHERS
    ]
    return [a, b, *rest]


def _diary() -> list[Line]:
    """Task ``a`` is cut short by the death of ``one`` and done by ``two``; both talk, and each has the lock in turn."""
    return [
        Line(at=1.0, kind="begin", life="one", task="a", attempt=1, work="steps"),
        Line(at=1.1, kind="step", life="one", task="a", attempt=1, key="k", value="lost"),
        Line(at=1.2, kind="took", life="one", task="a", attempt=1, token=1),
        Line(at=1.3, kind="gave", life="one", task="a", attempt=1, token=1),
        *_talk("m1", 1, 1.4),
        *_talk("m2", 2, 1.5),
        Line(at=1.6, kind="run", life="one", run="r"),
        Line(at=1.7, kind="call", life="one", run="r", number=0, value="s0@one", text="go"),
        Line(at=1.8, kind="call", life="one", run="r", number=1, value="s1@one", text="go s0@one"),
        Line(at=2.0, kind="killed", life="one"),
        Line(at=3.0, kind="call", life="two", run="r", number=1, value="s1@two", text="go s0@one"),
        Line(at=4.0, kind="begin", life="two", task="a", attempt=2, work="steps"),
        Line(at=4.1, kind="step", life="two", task="a", attempt=2, key="k", value="v"),
        Line(at=4.2, kind="recorded", life="two", task="a", attempt=2, key="k", value="v"),
        Line(at=4.3, kind="took", life="two", task="a", attempt=2, token=2),
        Line(at=4.4, kind="gave", life="two", task="a", attempt=2, token=2),
        Line(at=4.45, kind="end", life="two", task="a", attempt=2),
        Line(at=4.5, kind="begin", life="two", task="b", attempt=1, work="locked"),
        Line(at=4.6, kind="end", life="two", task="b", attempt=1),
        *(line for work in OTHERS for line in _done(work)),
    ]


def _done(work: str) -> list[Line]:
    begin = Line(at=4.7, kind="begin", life="two", task=work, attempt=1, work=work)
    if work == "flaky":
        again = [msgspec.structs.replace(begin, attempt=2), Line(at=4.7, kind="end", life="two", task=work, attempt=2)]
        return [begin, Line(at=4.7, kind="failed", life="two", task=work, attempt=1), *again]
    inner = {"kept": "tick", "guarded": "tick", "counted": "counted"}.get(work)
    done = [] if inner is None else [Line(at=4.7, kind=inner, life="two", task=work, attempt=1)]
    if work == "counted":
        done = [msgspec.structs.replace(done[0], key="tally", value="counted/1/0")]
    return [begin, *done, Line(at=4.7, kind="end", life="two", task=work, attempt=1)]


def _talk(message: str, number: int, at: float, to: str = "ear") -> list[Line]:
    said = Line(
        at=at, kind="said", life="one", sender="one", to=to, message=message, number=number, durable=number % 2 == 0
    )
    return [said, msgspec.structs.replace(said, kind="heard", life="two", at=at + 0.01)]


def _good() -> History:
    events = _events()
    run = RunRecord(
        run_id="r", pattern="errand", input="go", status=RunStatus.COMPLETED, started_at=NOW, budget=Budget(max_calls=3)
    )
    return History(
        diary=_diary(),
        tasks=_tasks(),
        events=events,
        acknowledged=["a", "b"],
        followed=[event.event_id for event in events],
        runs=[run],
        results={"r": {"content": "go s0@one s1@two"}},
        tallies={"tally": ["counted/1/0"]},
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


def _told(history: History, event: Event, **fields: object) -> History:
    number = history.events[-1].event_id + 1
    more = msgspec.structs.replace(event, event_id=number, **fields)
    return msgspec.structs.replace(history, events=[*history.events, more], followed=[*history.followed, number])


def _doubled_completion(history: History) -> History:
    return _told(history, history.events[-1])


def _taken_for_dead(history: History) -> History:
    return _told(history, history.events[0], event_type="node_lost", node_id="two", task_id=None)


def _two_of_a_key(history: History) -> History:
    again = msgspec.structs.replace(history.tasks[0], task_id="c")
    return msgspec.structs.replace(history, tasks=[*history.tasks, again])


def _run(history: History, **fields: object) -> History:
    return msgspec.structs.replace(history, runs=[msgspec.structs.replace(history.runs[0], **fields)])


def _impatient(history: History) -> History:
    b = [line for line in history.diary if line.task == "b"]
    early = [msgspec.structs.replace(line, at=0.1) for line in b]
    return msgspec.structs.replace(history, diary=[*early, *(line for line in history.diary if line.task != "b")])


def _reordered(history: History) -> History:
    heard = [line for line in history.diary if line.kind == "heard"]
    rest = [line for line in history.diary if line.kind != "heard"]
    return msgspec.structs.replace(history, diary=[*rest, *reversed(heard)])


def _missed(history: History) -> History:
    return msgspec.structs.replace(history, followed=[number for number in history.followed if number != 3])


def _seen_twice(history: History) -> History:
    return msgspec.structs.replace(history, followed=[1, 2, *history.followed[1:]])


def _late(history: History) -> History:
    later = [msgspec.structs.replace(line, at=line.at + 20) if line.at >= 4 else line for line in history.diary]
    return msgspec.structs.replace(history, diary=later)


def _overlapping(history: History) -> History:
    gave = next(line for line in history.diary if line.kind == "gave" and line.token == 1)
    return _with(_without(history, kind="gave", token=1), msgspec.structs.replace(gave, at=5.0))


def _twice_lost(history: History) -> History:
    return _told(history, history.events[3])


_STEP = Line(at=5.0, kind="step", life="two", task="a", attempt=2, key="k", value="v")
_OTHER = Line(at=5.0, kind="recorded", life="two", task="a", attempt=2, key="k", value="other")
_STALE = Line(at=5.0, kind="tick", life="one", task="a", attempt=1)
_FROZEN = Line(at=2.0, kind="frozen", life="one")
_AGAIN = Line(at=5.0, kind="begin", life="two", task="b", attempt=1)
_MORE = Line(at=5.0, kind="begin", life="two", task="b", attempt=2)
_TOKEN = Line(at=5.0, kind="took", life="two", task="b", attempt=1, token=1)
_OPEN = Line(at=5.0, kind="took", life="two", task="b", attempt=1, token=3)
_SAID = Line(at=5.0, kind="said", life="two", sender="two", to="listener-n2", message="m3", number=1)
_DRAINED = Line(at=5.0, kind="drained", life="two")
_BEGUN = Line(at=5.0, kind="begin", life="two", task="d", attempt=1, work="plain")
_CUT = Line(at=5.0, kind="cut", life="two", key="store")
_LATE = Line(at=7.6, kind="tick", life="two", task="plain", attempt=1)
_OLD = Line(at=5.0, kind="begin", life="one", task="kept", attempt=1, work="kept")
_KEPT = Line(at=5.1, kind="tick", life="two", task="kept", attempt=1)
_CALL = Line(at=5.0, kind="call", life="two", run="r", number=0, value="s0@two", text="go")
_OTHER_TEXT = Line(at=5.0, kind="call", life="two", run="r", number=1, value="s1@two", text="go s0@two")
_SAME = Line(at=5.0, kind="call", life="two", run="r", number=1, value="s1@two", text="go s0@one")
_COUNTED = Line(at=5.0, kind="counted", life="two", task="counted", attempt=1, key="tally", value="counted/1/1")
_KILLED = Line(at=5.0, kind="killed", life="three")
_ELSEWHERE = Line(at=5.0, kind="heard", life="three", sender="one", to="ear", message="m2", number=2, durable=True)
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
    "a key with two tasks": (_two_of_a_key, "key key a made 2 tasks"),
    "two keys with a task": (
        lambda h: msgspec.structs.replace(h, acknowledged=["a", "b", "b"]),
        "task b was acknowledged for two keys",
    ),
    "a living node that is given up": (_taken_for_dead, "node two was taken for dead, and nothing was done to it"),
    "a drain that leaves something": (
        lambda h: _with(h, _BEGUN, _DRAINED),
        "attempt 1 of task d was cut short by the drain of two",
    ),
    "a failure for no reason": (
        lambda h: _without(h, kind="failed"),
        "1 attempts failed by themselves, and no server was out of reach",
    ),
    "a dependent that does not wait": (_impatient, "task b began before task a ended, which it depends on"),
    "an addition that is lost": (lambda h: _with(h, _COUNTED), "counted/1/1 was added to 'tally' and is not in it"),
    "an addition that is there twice": (
        lambda h: msgspec.structs.replace(h, tallies={"tally": ["counted/1/0", "counted/1/0"]}),
        "counted/1/0 is 2 times in a shared value",
    ),
    "an addition out of nowhere": (
        lambda h: msgspec.structs.replace(h, tallies={"tally": ["counted/1/0", "x/1/0"]}),
        "x/1/0 is in a shared value and was never begun",
    ),
    "a lost run": (lambda h: msgspec.structs.replace(h, runs=[]), "run r was begun and is not in the store"),
    "an unfinished run": (lambda h: _run(h, status=RunStatus.INTERRUPTED), "run r was begun and is interrupted"),
    "a run that stops too soon": (
        lambda h: _run(h, status=RunStatus.INTERRUPTED, stopped="budget"),
        "run r was begun and is interrupted",
    ),
    "a budget that does not hold": (
        lambda h: _run(h, budget=Budget(max_calls=2)),
        "3 calls of run r were made, and its budget is 2",
    ),
    "a call made again": (lambda h: _with(h, _CALL), "call 0 of run r was made again after call 1"),
    "a call made twice in a life": (lambda h: _with(h, _SAME), "call 1 of run r was made in two and again in two"),
    "a call with two texts": (lambda h: _with(h, _OTHER_TEXT), "call 1 of run r was made with two texts"),
    "a made-up result": (
        lambda h: msgspec.structs.replace(h, results={"r": {"content": "go"}}),
        "the result of run r is 'go', which no call has answered",
    ),
    "two keepers": (lambda h: _with(h, _OLD, _KEPT), "the keeper of two did something after that of one had begun"),
    "a node cut off that goes on": (
        lambda h: _with(h, _CUT, _LATE),
        "tick in two 2.6 s after it was cut off, with a lease of 2 s",
    ),
    "a message handled again elsewhere": (
        lambda h: _with(h, _ELSEWHERE),
        "message m2 was handled by ear in two, which nobody struck, and again",
    ),
    "work that was not done": (lambda h: _without(h, task="guarded"), "no 'guarded' task was done"),
    "a thing that did not happen": (lambda h: _without(h, kind="counted"), "nothing is 'counted' in the diary"),
    "a silence": (lambda h: _without(h, kind="heard", durable=False), "no plain message was heard"),
    "a stillness": (
        lambda h: _with(h, _KILLED, _KILLED),
        "nothing was begun elsewhere after three was killed",
    ),
    "a kill of nothing": (
        lambda h: msgspec.structs.replace(h, diary=[_KILLED, *(line for line in h.diary if line.kind != "killed")]),
        "nothing was under way on a node that was killed",
    ),
    "a missed event": (_missed, "the follower missed 1 events, the first is 3"),
    "an event seen twice": (_seen_twice, "event 2 comes after 2 in what the follower tells"),
}


def test_a_good_history_has_no_faults() -> None:
    assert faults(_good()) == []
    assert handovers(_good()) == [2.0]
    assert struck_work(_good()) == 1


def test_one_effect_of_a_frozen_attempt_is_no_fault() -> None:
    assert faults(_with(_good(), _FROZEN, _STALE)) == []


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_history_is_refused(what: str) -> None:
    forge, expected = FORGED[what]
    found = faults(forge(_good()))
    assert any(expected in fault for fault in found), found
