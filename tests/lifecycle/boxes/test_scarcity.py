"""A host that runs out of open files: a start is refused in words, and nothing stays."""

from __future__ import annotations

import gc
import glob
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from shoal.boxes import BoxRuntime
from shoal.errors import BoxStartError
from shoal.testing.box_frame import until
from tests.support.levels import need

Run = Callable[..., Any]


@contextmanager
def free_files(count: int) -> Iterator[None]:
    """Let this process open *count* more files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 50, before[1]))
    held: list[int] = []
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        for _ in range(count):
            os.close(held.pop())
    try:
        yield
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def groups() -> list[str]:
    return glob.glob(f"/sys/fs/cgroup/**/shoal-{os.getpid()}-*", recursive=True)


@pytest.mark.parametrize("level", ["process", "bubblewrap"])
def test_who_has_no_files_left_starts_no_box_and_leaves_nothing(run: Run, level: str) -> None:
    need(level)

    async def main() -> None:
        async with BoxRuntime(level, logs="none") as runtime:
            await runtime.create_box("first")  # what is looked up once is known now
            await runtime.remove_box("first")
            await until(lambda: not groups())
            before = files()
            for count in range(12):
                with free_files(count), pytest.raises(BoxStartError):
                    await runtime.create_box("box")
                await until(lambda: files() <= before and not groups())
            box = await runtime.create_box("box")
            assert (await box.exec("true")).exit_code == 0

    run(main, timeout=40)
