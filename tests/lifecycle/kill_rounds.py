"""Lives of a runtime that are ended by ``kill -9``: the parent forks each life, so that it costs no new interpreter.

Started as ``python kill_rounds.py KIND URL FILE KILLS SEED``. Every execution of a task or step writes a line to
*FILE* before anything else: an effect that no crash takes back. The last life is let through.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from typing import Any

from shoal import AgentRuntime, ResourceLimit, Task, TaskSpec

SLOTS = 4
LIMITS = ResourceLimit(max_task_queue_size=None)


class Effects:
    """Lines that survive."""

    def __init__(self, file: str, pulse: int) -> None:
        self._fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._pulse = pulse

    def note(self, line: str) -> None:
        os.write(self._fd, f"{line}\n".encode())
        os.write(self._pulse, b".")


async def many_tasks(url: str, effects: Effects, number: int) -> None:
    async def ten_milliseconds(task: Task) -> int:
        effects.note(task.task_id)
        await asyncio.sleep(0.01)
        return task.attempt

    async with AgentRuntime(None, LIMITS, {"max_interruptions": 1000}, store=url) as runtime:
        for n in range(SLOTS):
            await runtime.register_agent(f"w{n}", ten_milliseconds)
            await runtime.start_agent(f"w{n}")
        specs = [TaskSpec(name=str(n), idempotency_key=str(n)) for n in range(number)]
        ids = await runtime.submit_tasks(specs)
        await runtime.wait_for_tasks(ids)


async def many_steps(url: str, effects: Effects, number: int) -> None:
    async def step_by_step(task: Task, context: Any) -> int:
        def effect(n: int) -> int:
            effects.note(str(n))
            return n

        return sum([await context.step(f"step {n}", effect, n) for n in range(number)])

    async with AgentRuntime(None, LIMITS, store=url) as runtime:
        await runtime.register_agent("one", step_by_step)
        await runtime.start_agent("one")
        await runtime.wait_for_task(await runtime.submit_task("steps", idempotency_key="steps"))


# What is executed, how much of it a life does as a rule, and how many seconds later at most it is killed.
KINDS = {"tasks": (many_tasks, 10, 0.012), "steps": (many_steps, 10, 0.002)}


def live(kind: str, url: str, file: str, pulse: int, number: int) -> None:
    """Be the child: live one life."""
    try:
        asyncio.run(KINDS[kind][0](url, Effects(file, pulse), number))
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def kill_after(pid: int, pulses: int, progress: int, pause: float) -> None:
    """Kill the child when it has made so much progress, and a moment later: anywhere between two commits."""
    seen = 0
    while seen < progress and (heard := os.read(pulses, progress - seen)):
        seen += len(heard)
    time.sleep(pause)
    os.kill(pid, signal.SIGKILL)


def main(kind: str, url: str, file: str, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    number = int(os.environ["NUMBER"])
    _, each, pause = KINDS[kind]
    for life in range(kills + 1):
        pulses, pulse = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(pulses)
            live(kind, url, file, pulse, number)
        os.close(pulse)
        last = life == kills
        if last:
            while os.read(pulses, 65536):
                pass
        else:
            kill_after(pid, pulses, chance.randint(1, 2 * each - 2), chance.uniform(0, pause))
        os.close(pulses)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code != (0 if last else -signal.SIGKILL):
            sys.exit(f"life {life} ended with {code}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
