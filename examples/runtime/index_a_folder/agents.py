"""The team: readers, an analyst in a process of its own, and a writer."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from analysis import analyse, count, link
from files import language_of
from report import as_json, as_markdown

from shoal import BaseAgent, Task

__all__ = ["Analyst", "Member", "Reader", "Writer"]


class Member(BaseAgent):
    """What all have in common: each execution leaves a line in the effect log, which no crash takes back.

    The log is the program's own book-keeping, independent of the store: what was really executed, and how often.
    """

    def leave_effect(self, task: Task) -> None:
        log = os.open(self.config["effects"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(log, f"{task.idempotency_key}\n".encode())
        finally:
            os.close(log)


class Reader(Member):
    """Reads one file. The text goes on to the analyst, so that all later work is about the same version of it."""

    async def execute_task(self, task: Task) -> dict[str, Any]:
        path = str(task.input_data["path"])
        fault = None
        try:
            data = await asyncio.to_thread(Path(self.config["folder"], path).read_bytes)
        except OSError as error:  # gone since it was found, or not for us to read: the report says so
            data, fault = b"", f"not read: {error.strerror}"
        text = data.decode("utf-8", errors="replace")
        self.leave_effect(task)
        return {"path": path, "language": language_of(path), "text": text, "fault": fault, **count(text)}


class Analyst(Member):
    """Takes one text apart. The files are not ours, so this happens in another process: a parser that a strange file
    brings down takes nothing else with it."""

    async def execute_task(self, task: Task) -> dict[str, Any]:
        (reading,) = (await self.context.dependencies()).values()
        file: dict[str, Any] = dict(reading.output_data)
        text = file.pop("text")
        found = analyse(file["path"], file["language"], text)
        await asyncio.sleep(self.config["pace"])
        self.leave_effect(task)
        return {**file, **found, "fault": file["fault"] or found["fault"]}


class Writer(Member):
    """Finds the links between the files and writes the report."""

    async def execute_task(self, task: Task) -> dict[str, Any]:
        before = [done.output_data for done in (await self.context.dependencies()).values()]
        files = sorted((done for done in before if "path" in done), key=lambda file: file["path"])
        if task.name == "link":
            links = link({file["path"]: file for file in files})
            self.leave_effect(task)
            return {"links": links}
        (links,) = (done["links"] for done in before if "links" in done)
        return await self.write(task, files, links)

    async def write(self, task: Task, files: list[dict[str, Any]], links: list[dict[str, str]]) -> dict[str, Any]:
        title, out = self.config["title"], Path(self.config["out"])
        # A step whose result is recorded is not done again, also after a crash: the next attempt goes on behind it.
        index = await self.context.step("index", self.put, out / "index.json", as_json(title, files, links))
        await self.context.progress(0.5, "index written")

        def last() -> str:
            name = self.put(out / "report.md", as_markdown(title, files, links))
            self.leave_effect(task)
            return name

        return {"index": index, "report": await self.context.step("report", last)}

    def put(self, path: Path, text: str) -> str:
        """Write a file whole or not at all."""
        new = path.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.replace(path)
        return path.name
