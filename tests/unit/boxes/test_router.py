"""Routing between boxes: who gets what, in which order, and what is refused. No processes, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from shoal.boxes.audit import Audit
from shoal.boxes.members import Member, Parcel
from shoal.boxes.policy import BoxPolicy
from shoal.boxes.router import Router
from shoal.boxes.wire import ErrorRecord
from shoal.errors import DeadAgentError, ProtocolError
from shoal.testing.clock import VirtualClock, run_virtual


class Box:
    """A member that keeps what it is given until the test lets it answer."""

    def __init__(self, router: Router, name: str, *, count: int = 1000, in_flight: int = 256, **more: Any) -> None:
        self.router = router
        self.given: list[Parcel] = []
        self.answers: dict[int, Any] = {}
        self.withdrawn: list[int] = []
        self.backlog: Any = None
        self.member = Member(name, self, max_count=count, max_bytes=1 << 26, in_flight=in_flight, **more)
        self._sends = 0
        router.join(self.member)
        router.settle(self.member, messages=True, events=("news", "team.*"))

    def give(self, parcel: Parcel) -> None:
        self.given.append(parcel)

    def withdraw(self, number: int) -> None:
        self.withdrawn.append(number)

    def answer(self, send_id: int, data: msgspec.Raw, error: ErrorRecord | None) -> None:
        self.answers[send_id] = (error.type, error.text) if error else msgspec.json.decode(data)

    def send(
        self, target: str, data: object = None, *, handling: int | None = None, timeout: float | None = 30, **more: Any
    ) -> int:
        self._sends += 1
        raw = msgspec.Raw(msgspec.json.encode(data))
        more.setdefault("blocks", True)
        self.router.send(self.member, self._sends, target, raw, timeout=timeout, handling=handling, **more)
        return self._sends

    def reply(self, number: int, data: object = None) -> None:
        raw = msgspec.Raw(msgspec.json.encode(data))
        self.router.reply(self.member, number, raw, None, own=False)


@pytest.fixture
def routed() -> Callable[[Callable[[Router], Coroutine[Any, Any, None]]], None]:
    """Run a test with a router, in virtual time."""

    def run(main: Callable[[Router], Coroutine[Any, Any, None]]) -> None:
        async def whole(clock: VirtualClock) -> None:
            await main(Router(clock, Audit(clock)))

        run_virtual(whole)

    return run


Run = Callable[[Callable[[Router], Coroutine[Any, Any, None]]], None]


def test_a_question_is_answered(routed: Run) -> None:
    async def main(router: Router) -> None:
        a, b = Box(router, "a"), Box(router, "b")
        sent = a.send("b", {"value": 21})
        assert [(p.sender, bytes(p.data)) for p in b.given] == [("a", b'{"value":21}')]
        b.reply(b.given[0].number, {"doubled": 42})
        assert a.answers == {sent: {"doubled": 42}}
        assert not a.member.waits and not b.member.asked and not b.member.given

    routed(main)


@pytest.mark.spec("B5")
def test_what_is_refused_has_its_class_and_text(routed: Run) -> None:
    async def main(router: Router) -> None:
        a, mute = Box(router, "a"), Box(router, "mute")
        router.settle(mute.member, messages=False, events=("news",))
        router.reserve("asleep")
        said = [a.answers[a.send(target)] for target in ("nobody", "a", "asleep", "mute")]
        router.policy = BoxPolicy(allow=[("a", "mute")])
        said += [a.answers[a.send(target)] for target in ("nobody", "asleep")]
        assert said == [
            ("BoxNotFoundError", "Box 'nobody' not found"),
            ("SelfSendError", "Cannot send to self"),
            ("BoxNotRunningError", "Box 'asleep' not running"),
            ("NoHandlerError", "Box 'mute' has no message handler"),
            ("NotAllowedError", "Box 'a' may not talk to 'nobody'"),
            ("NotAllowedError", "Box 'a' may not talk to 'asleep'"),
        ]
        assert {record.kind for record in router.audit.tail(10)} == {"refusal"}

    routed(main)


def test_a_box_holds_sixteen_and_gets_the_next_when_one_is_done(routed: Run) -> None:
    async def main(router: Router) -> None:
        a, b = Box(router, "a"), Box(router, "b")
        for value in range(40):
            a.send("b", value, blocks=False)
        assert len(b.given) == 16 and len(b.member.mailbox) == 24
        for place in range(40):
            b.reply(b.given[place].number)
        assert [msgspec.json.decode(parcel.data) for parcel in b.given] == list(range(40))

    routed(main)


def test_a_box_holds_a_megabyte_but_always_one(routed: Run) -> None:
    async def main(router: Router) -> None:
        a, b = Box(router, "a"), Box(router, "b")
        for _ in range(3):
            a.send("b", "x" * (600 << 10), blocks=False)
        assert len(b.given) == 1
        b.reply(b.given[0].number)
        assert len(b.given) == 2

    routed(main)


@pytest.mark.spec("B6")
def test_messages_and_events_of_one_sender_keep_their_order(routed: Run) -> None:
    async def main(router: Router) -> None:
        a, b = Box(router, "a"), Box(router, "b")
        for value in range(30):
            a.send("b", value, blocks=False)
            assert router.publish(a.member, "news", msgspec.Raw(str(value).encode())) == 1
        for place in range(60):
            parcel = b.given[place]
            if parcel.event:
                router.handled(b.member, parcel.number)
            else:
                b.reply(parcel.number)
        assert [int(bytes(parcel.data)) for parcel in b.given] == [value for value in range(30) for _ in "me"]

    routed(main)


def test_a_full_mailbox_refuses_messages_and_drops_events(routed: Run) -> None:
    async def main(router: Router) -> None:
        a, b = Box(router, "a"), Box(router, "b", count=4)
        for value in range(20):
            a.send("b", value, blocks=False)
        refused = a.send("b", "one more", blocks=False)
        assert a.answers == {refused: ("MailboxFullError", "Mailbox of 'b' is full (4)")}
        assert router.publish(a.member, "news", msgspec.Raw(b"1")) == 0
        assert b.member.counts.dropped_events == 1

    routed(main)


@pytest.mark.spec("B7")
def test_a_call_back_is_handled_on_top_of_the_wait(routed: Run) -> None:
    async def main(router: Router) -> None:
        a, b, c = (Box(router, name) for name in "abc")
        first = a.send("b")
        second = b.send("c", handling=b.given[0].number)
        c.send("a", handling=c.given[0].number)
        assert [parcel.over for parcel in a.given] == [first]
        back = a.send("b", handling=a.given[0].number)
        assert b.given[1].over == second, "the latest wait of the chain"
        b.reply(b.given[1].number, "deep")
        assert a.answers == {back: "deep"}

    routed(main)


@pytest.mark.spec("B7")
def test_a_circle_of_waits_is_refused_and_the_other_goes_on(routed: Run) -> None:
    async def main(router: Router) -> None:
        a, b, c = (Box(router, name) for name in "abc")
        a.send("b")
        b.send("c")
        closing = c.send("a")
        assert c.answers == {closing: ("DeadlockError", "deadlock: c -> a -> b -> c")}
        assert not a.answers and not b.answers
        c.reply(c.given[0].number, 1)
        assert b.answers == {1: 1}

    routed(main)


@pytest.mark.parametrize("way", ["another thread", "interleave", "admitted work"])
def test_a_circle_that_somebody_can_leave_is_none(routed: Run, way: str) -> None:
    async def main(router: Router) -> None:
        a = Box(router, "a", interleave=way == "interleave")
        b = Box(router, "b")
        a.send("b", blocks=way != "another thread")
        if way == "admitted work":
            router.settle(a.member, messages=True, events=())
            b.send("a", handling=b.given[0].number)  # admitted in a: it works now
            outside = Box(router, "c")
            outside.send("b")
            assert not outside.answers
        else:
            b.send("a")
        assert not b.answers and len(a.given) == 1

    routed(main)


def test_a_chain_ends_at_sixty_four(routed: Run) -> None:
    async def main(router: Router) -> None:
        boxes = [Box(router, f"b{n}") for n in range(66)]
        handling = None
        for n in range(65):
            sent = boxes[n].send(f"b{n + 1}", handling=handling)
            if n == 64:
                assert boxes[n].answers == {sent: ("ChainTooDeepError", "call chain longer than 64")}
            else:
                handling = boxes[n + 1].given[0].number

    routed(main)


@pytest.mark.spec("B17")
def test_a_time_out_is_the_senders_and_a_queued_message_never_runs(routed: Run) -> None:
    async def main(router: Router) -> None:
        a, b = Box(router, "a"), Box(router, "b")
        sent = [a.send("b", n, timeout=0.5, blocks=False) for n in range(17)]
        await asyncio.sleep(0.49)
        assert not a.answers
        await asyncio.sleep(0.02)
        assert set(a.answers.values()) == {("ResponseTimeoutError", "Timeout waiting for 'b' after 0.5 s")}
        assert len(a.answers) == len(sent) and len(b.given) == 16
        assert b.withdrawn == [parcel.number for parcel in b.given], "what it holds it may have begun"
        b.reply(b.given[0].number, "late")
        assert b.member.counts.late_replies == 1
        assert len(b.given) == 16, "the seventeenth was taken out of the mailbox"

    routed(main)


@pytest.mark.spec("B17")
def test_a_thousand_time_outs_leave_nothing(routed: Run) -> None:
    async def main(router: Router) -> None:
        a, b = Box(router, "a"), Box(router, "b")
        for _ in range(1000):
            a.send("b", timeout=0.1, blocks=False)
            await asyncio.sleep(0.2)
            while b.given:
                b.reply(b.given.pop().number)
        assert not (a.member.waits or b.member.asked or b.member.given or b.member.mailbox or b.member.mailbox_bytes)
        assert b.member.given_count == b.member.given_bytes == 0

    routed(main)


def test_death_ends_every_question_and_forgets_the_dead(routed: Run) -> None:
    async def main(router: Router) -> None:
        a, b = Box(router, "a"), Box(router, "b")
        sent = [a.send("b", n, blocks=False) for n in range(20)]
        b.send("a")
        router.leave(b.member, DeadAgentError("Box 'b' died (exit code 3)", exit_code=3))
        assert a.answers == dict.fromkeys(sent, ("DeadAgentError", "Box 'b' died (exit code 3)"))
        a.reply(a.given[0].number, "too late")
        assert b.answers == {} and a.member.counts.late_replies == 1
        assert a.answers[a.send("b")] == ("BoxNotRunningError", "Box 'b' not running")

    routed(main)


@pytest.mark.spec("B23")
def test_what_waited_for_handlers_that_never_came_is_refused(routed: Run) -> None:
    async def main(router: Router) -> None:
        a, b = Box(router, "a"), Box(router, "b")
        b.member.settled = False
        sent = a.send("b")
        assert not b.given and not a.answers
        router.settle(b.member, messages=False, events=("news",))
        assert a.answers == {sent: ("NoHandlerError", "Box 'b' has no message handler")}

    routed(main)


def test_an_open_number_cannot_be_used_again(routed: Run) -> None:
    async def main(router: Router) -> None:
        a = Box(router, "a")
        Box(router, "b")
        a.send("b")
        a._sends = 0
        with pytest.raises(ProtocolError, match="still open"):
            a.send("b")

    routed(main)


def test_an_answer_to_what_another_was_asked_counts_for_nothing(routed: Run) -> None:
    async def main(router: Router) -> None:
        a, b, thief = (Box(router, name) for name in ("a", "b", "thief"))
        a.send("b")
        thief.reply(b.given[0].number, "stolen")
        b.reply(b.given[0].number, "mine")
        b.reply(b.given[0].number, "twice")
        assert a.answers == {1: "mine"}
        assert (thief.member.counts.late_replies, b.member.counts.late_replies) == (1, 1)

    routed(main)


def test_more_open_requests_than_allowed_are_refused(routed: Run) -> None:
    async def main(router: Router) -> None:
        a = Box(router, "a", in_flight=3)
        Box(router, "b")
        for _ in range(4):
            a.send("b", blocks=False)
        assert a.answers == {4: ("BoxError", "Box 'a' has 3 open requests")}

    routed(main)


@pytest.mark.spec("B32")
def test_a_policy_is_replaced_while_running_and_answers_pass(routed: Run) -> None:
    async def main(router: Router) -> None:
        a, b = Box(router, "a"), Box(router, "b")
        sent = a.send("b", "secret")
        router.policy = BoxPolicy(allow=[("b", "team-*")], events=[("a", "team.*")])
        b.reply(b.given[0].number, "passes")
        assert a.answers == {sent: "passes"}
        a.send("b", "secret")
        assert router.publish(a.member, "team.news", msgspec.Raw(b"1")) == 1
        refusals = [record for record in router.audit.tail(10) if record.kind == "refusal"]
        assert [(r.sender, r.target, r.outcome) for r in refusals] == [("a", "b", "NotAllowedError")]
        assert "secret" not in repr(router.audit.tail(100))

    routed(main)


def test_deep_data_and_bad_text_are_refused_undecoded(routed: Run) -> None:
    async def main(router: Router) -> None:
        a = Box(router, "a")
        Box(router, "b")
        for number, raw in enumerate((b"[" * 129 + b"]" * 129, b'"\xff"'), start=1):
            router.send(a.member, number, "b", msgspec.Raw(raw), timeout=None, handling=None, blocks=False)
        assert [kind for kind, _ in a.answers.values()] == ["PayloadError", "PayloadError"]
        brackets = msgspec.Raw(b'"' + b"[" * 500 + b'\\""')
        router.send(a.member, 9, "b", brackets, timeout=None, handling=None, blocks=False)
        assert 9 not in a.answers, "brackets in a text are no depth"

    routed(main)
