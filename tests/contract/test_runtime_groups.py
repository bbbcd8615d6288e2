"""Groups: one verb for all members, and an error that names those that failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shoal import AgentRuntime, AgentStatus, BaseAgent, Task, TaskStatus
from shoal.errors import AgentPauseError, AgentStartError, AgentStateError, GroupError
from tests.support.runtimes import running, until

Run = Callable[..., Any]


class Member(BaseAgent):
    def broken(self, hook: str) -> None:
        if hook in self.config.get("raises", []):
            raise OSError(f"{hook} of {self.name}")

    async def on_start(self) -> None:
        self.broken("on_start")

    async def on_pause(self) -> dict[str, Any]:
        self.broken("on_pause")
        return {}

    async def on_resume(self, state: dict[str, Any]) -> None:
        self.broken("on_resume")

    async def execute_task(self, task: Task) -> Any:
        if task.name == "take":
            return [m.data for m in await self.context.receive_messages()]
        if task.name == "call":
            return await self.context.broadcast_message("note", "hello", group="crew")
        return self.name


def standing(runtime: AgentRuntime) -> dict[str, str]:
    return {agent.name: agent.status for agent in runtime.list_agents(group="crew")}


async def crew(runtime: AgentRuntime, **raises: str) -> None:
    for name in ("a", "b", "c"):
        await runtime.register_agent(name, Member, {"raises": [raises.get(name, "")]}, group="crew")


@pytest.mark.spec("R43")
def test_every_verb_reaches_all_members(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, {"outsider": Member}) as runtime:
            await crew(runtime)
            assert runtime.list_groups() == {"crew": [runtime.get_agent_status(n).agent_id for n in ("a", "b", "c")]}
            await runtime.groups.start("crew")
            assert standing(runtime) == {"a": "running", "b": "running", "c": "running"}
            await runtime.groups.pause("crew")
            assert standing(runtime) == {"a": "paused", "b": "paused", "c": "paused"}
            task_id = await runtime.submit_task("work", group="crew")
            await runtime.groups.resume("crew")
            done = await runtime.wait_for_task(task_id, 10)
            assert done.result() in ("a", "b", "c"), "a task for the group goes to one of its members"
            many = [await runtime.submit_task("work", group="crew") for _ in range(30)]
            assert {t.result() for t in await runtime.wait_for_tasks(many, 10)} <= {"a", "b", "c"}
            call = await runtime.wait_for_task(await runtime.submit_task("call", agent="outsider"), 10)
            assert call.result() == 3
            for name in ("a", "b", "c"):
                taken = await runtime.wait_for_task(await runtime.submit_task("take", agent=name), 10)
                assert taken.result() == ["hello"]
            await runtime.groups.stop("crew")
            assert standing(runtime) == {"a": "stopped", "b": "stopped", "c": "stopped"}
            assert runtime.get_agent_status("outsider").status is AgentStatus.RUNNING

    run(main)


@pytest.mark.spec("R43")
@pytest.mark.parametrize(
    ("verb", "hook", "after", "error"),
    [
        ("start", "on_start", ("running", "failed"), AgentStartError),
        ("pause", "on_pause", ("paused", "running"), AgentPauseError),
        ("resume", "on_resume", ("running", "failed"), AgentStartError),
    ],
)
def test_a_failing_member_is_named_and_the_others_are_done(
    url: str, run: Run, verb: str, hook: str, after: tuple[str, str], error: type[Exception]
) -> None:
    async def main() -> None:
        async with running(url) as runtime:
            await crew(runtime, b=hook)
            if verb != "start":
                await runtime.groups.start("crew")
            if verb == "resume":
                await runtime.groups.pause("crew")
            with pytest.raises(GroupError) as failed:
                await getattr(runtime.groups, verb)("crew")
            assert list(failed.value.failures) == ["b"]
            assert isinstance(failed.value.failures["b"], error)
            assert f"{hook} of b" in str(failed.value)
            good, bad = after
            assert standing(runtime) == {"a": good, "b": bad, "c": good}

    run(main)


@pytest.mark.spec("R43")
def test_a_member_in_another_state_is_named_too(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url) as runtime:
            await crew(runtime)
            await runtime.groups.start("crew")
            await runtime.stop_agent("a")
            with pytest.raises(GroupError) as failed:
                await runtime.groups.pause("crew")
            assert [(n, type(e)) for n, e in failed.value.failures.items()] == [("a", AgentStateError)]
            assert standing(runtime) == {"a": "stopped", "b": "paused", "c": "paused"}
            await runtime.groups.stop("crew")  # one that is stopped already is no failure
            assert set(standing(runtime).values()) == {"stopped"}

    run(main)


@pytest.mark.spec("R43")
def test_groups_are_created_changed_and_deleted_with_their_events(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, {"a": Member, "b": Member}) as runtime:
            await runtime.create_group("few", ["a"])
            waiting = await runtime.submit_task("work", group="late")
            await runtime.add_to_group("few", "b")
            await runtime.remove_from_group("few", "a")
            assert [a.name for a in runtime.list_agents(group="few")] == ["b"]
            assert runtime.get_queue_position(waiting).reason == "no_agent"
            await runtime.create_group("late", ["a"])
            done = await runtime.wait_for_task(waiting, 10)  # a member that joins later takes what waits
            assert (done.status, done.result()) == (TaskStatus.COMPLETED, "a")
            await runtime.delete_group("few")
            assert list(runtime.list_groups()) == ["late"]
            await until(lambda: len(runtime.query_events("group_changed")) >= 5)
            with pytest.raises(GroupError):
                await runtime.delete_group("few")
            with pytest.raises(GroupError):
                await runtime.groups.start("few")
            with pytest.raises(ValueError, match="late"):
                await runtime.create_group("late")

    run(main)
