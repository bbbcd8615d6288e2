"""The verbs on groups: who belongs together, and what is done to all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from shoal.errors import GroupError, ShoalError

if TYPE_CHECKING:
    from shoal.kernel.agents import Agents
    from shoal.kernel.env import Env
    from shoal.kernel.registration import Registration
    from shoal.kernel.scheduler import Scheduler

__all__ = ["Groups"]


class Groups:
    """Named sets of agents; an agent may be in many."""

    def __init__(
        self, env: Env, agents: Agents, registrations: Mapping[str, Registration], scheduler: Scheduler
    ) -> None:
        self._env = env
        self._agents = agents
        self._registrations = registrations
        self._scheduler = scheduler

    async def create(self, name: str, agents: Sequence[str] = ()) -> None:
        """Create a group. Raises ValueError when it exists, AgentNotFoundError."""
        self._env.check_running()
        if not isinstance(name, str) or not 1 <= len(name) <= 100:
            raise ValueError(f"group name must be text of 1 to 100 characters, not {str(name)[:80]!r}")
        ids = [self._env.store.agents.resolve(address) for address in agents]
        await self._env.store.agents.create_group(name, ids, now=self._env.clock.now())
        self._changed()

    async def delete(self, name: str) -> None:
        """Delete a group; its agents stay. Raises GroupError when there is none."""
        self._env.check_running()
        await self._env.store.agents.delete_group(name, now=self._env.clock.now())
        self._changed()

    async def add(self, group: str, address: str) -> None:
        """Put an agent in a group."""
        await self._change(group, address, True)

    async def remove(self, group: str, address: str) -> None:
        """Take an agent out of a group."""
        await self._change(group, address, False)

    async def _change(self, group: str, address: str, member: bool) -> None:
        self._env.check_running()
        agent_id = self._env.store.agents.resolve(address)
        await self._env.store.agents.change_group(group, agent_id, member=member, now=self._env.clock.now())
        self._changed()

    def _changed(self) -> None:
        self.look()
        self._env.bus.ring("groups")

    def look(self) -> None:
        """Let the agents of this node take the tasks of the groups that they are in now, whoever put them there."""
        groups: dict[str, set[str]] = {agent_id: set() for agent_id in self._registrations}
        for name, members in self._env.store.agents.groups().items():
            for agent_id in groups.keys() & members:
                groups[agent_id].add(name)
        for agent_id, registration in self._registrations.items():
            mine = tuple(sorted(groups[agent_id]))
            if registration.groups != mine:
                registration.groups = mine
                registration.retarget()
                self._scheduler.touch(agent_id)
                self._scheduler.kick()

    def list(self) -> dict[str, list[str]]:
        """Return the members' ids by group."""
        return self._env.store.agents.groups()

    def _ids(self, name: str) -> Sequence[str]:
        groups = self._env.store.agents.groups()
        if name not in groups:
            raise GroupError(f"Group {name[:80]!r} does not exist")
        return groups[name]

    async def start(self, name: str) -> None:
        """Start all members; GroupError lists those that failed, the others are done."""
        await self._each(name, "start", self._agents.start)

    async def stop(self, name: str) -> None:
        """Stop all members."""
        await self._each(name, "stop", self._agents.stop)

    async def pause(self, name: str) -> None:
        """Pause all members."""
        await self._each(name, "pause", self._agents.pause)

    async def resume(self, name: str) -> None:
        """Resume all members."""
        await self._each(name, "resume", self._agents.resume)

    async def _each(self, name: str, verb: str, carry_out: Callable[[str], Awaitable[None]]) -> None:
        self._env.check_running()
        failures: dict[str, BaseException] = {}
        for agent_id in self._ids(name):
            try:
                await carry_out(agent_id)
            except ShoalError as error:
                failures[self._env.store.agents.get(agent_id).name] = error
        if failures:
            which = "; ".join(f"{agent}: {error}" for agent, error in failures.items())
            raise GroupError(f"cannot {verb} all of group {name!r}: {which}", failures=failures)
