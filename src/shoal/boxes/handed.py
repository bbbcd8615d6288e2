"""What a caller hands to a box: functions before it runs; commands, files and questions beside its program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from shoal.boxes.asked import check_command, check_env, check_event_name, check_handler, check_seconds, check_texts
from shoal.boxes.chatting import ChatAnswer, chat_answer
from shoal.boxes.house import place
from shoal.boxes.incarnation import Incarnation
from shoal.boxes.program import Program
from shoal.boxes.results import ExecResult
from shoal.errors import BoxNotRunningError, BoxSpecError

if TYPE_CHECKING:
    from shoal.boxes.box import Box
    from shoal.boxes.house import House

__all__ = ["Handed"]

F = TypeVar("F", bound=Callable[..., Any])
_MIB = 1 << 20


class Handed:
    """The part of a ``Box`` that is handed something."""

    def __init__(self, name: str, house: House) -> None:
        self.name = name
        self._house = house
        self._program = Program()
        self._life: Incarnation | None = None

    async def _alive(self) -> Incarnation:
        raise NotImplementedError

    # -- what it runs

    def task(self, function: F) -> F:
        """Register *function* (without arguments, may be async) as what it runs; the last one wins."""
        check_handler(function, "a task")
        self._program.task = function
        return function

    def on_message(self, function: F) -> F:
        """Register a handler ``(sender, data) -> answer``. The first that does not raise answers."""
        check_handler(function, "a handler")
        self._program.messages.append(function)
        return function

    def on_event(self, name: str) -> Callable[[F], F]:
        """Register a handler ``(data)`` of the event *name*, or of all that begin with *name* when it ends with ``*``."""
        check_event_name(name)

        def register(function: F) -> F:
            check_handler(function, "a handler")
            self._program.events.append((name, function))
            return function

        return register

    # -- beside the program

    async def exec(
        self,
        *command: str,
        stdin: bytes | str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        timeout: float | None = None,
        max_output: int = _MIB,
    ) -> ExecResult:
        """Run *command* inside the same walls, also while the program computes; any number at once.

        Args:
            command: the program and its arguments; no shell.
            stdin: what it reads.
            env: its environment beside the box's own.
            cwd: its directory; default: the box's.
            timeout: seconds until its whole process group is killed, which raises TimeoutError.
            max_output: the most bytes that are kept of each of stdout and stderr.

        Raises:
            BoxSpecError: it is no command.
            BoxError: it could not be started.
        """
        given = check_env(env)
        check_command(command, stdin, cwd, max_output)
        check_seconds(timeout, "timeout")
        life = await self._alive()
        data = stdin.encode() if isinstance(stdin, str) else stdin or b""
        where = None if cwd is None else place(life, cwd)
        work = life.errands.run(command, data, given, where, max_output)
        return await self._house.command(cast("Box", self), command, work, timeout)

    async def put_file(self, path: str, data: bytes) -> None:
        """Write a file below ``/work``, ``/tmp`` or a writable mount; 64 MiB at most."""
        check_texts("a path", path)
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise BoxSpecError(f"a file is bytes, not {type(data).__name__}")
        await self._here().errands.put(place(self._here(), path), data)

    async def get_file(self, path: str) -> bytes:
        """Read a file below ``/work``, ``/tmp`` or a writable mount; 64 MiB at most."""
        check_texts("a path", path)
        return await self._here().errands.get(place(self._here(), path))

    def _here(self) -> Incarnation:
        self._house.check_loop()
        if self._life is None:
            raise BoxNotRunningError(self.name)
        return self._life

    async def chat(self, message: str, **kw: Any) -> str | ChatAnswer | Any:
        """Ask it as a member of a pattern: sends ``{"message": message, **kw}``.

        Returns a str as it is, and a dict with ``content`` as an object with ``.content``, ``.usage``, ``.cost``.
        """
        return chat_answer(await self._house.request(self.name, {"message": message, **kw}))
