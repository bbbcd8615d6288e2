"""Five habits: handle errors, listen for the stop, clean up, set time-outs, use the logger."""

import asyncio
import os
import sqlite3

from shoal.runtime import AgentMessage, AgentRuntime, BaseAgent, Task

SECOND = float(os.environ.get("SHOAL_EXAMPLE_SECOND", "1.0"))


class CarefulAgent(BaseAgent):
    """1. Turn the errors that you expect into results. What you do not catch fails the task, or is tried again."""

    async def risky_operation(self, divisor: int) -> float:
        return 10 / divisor

    async def execute_task(self, task: Task) -> dict:
        try:
            result = await self.risky_operation(task.input_data["divisor"])
            return {"result": result, "success": True}
        except ZeroDivisionError as e:
            self.context.logger.error(f"Task failed: {e}")
            return {"error": str(e), "success": False}


class BatchAgent(BaseAgent):
    """2. Ask is_stopping() in long work: what is returned then is the task's result."""

    async def execute_task(self, task: Task) -> dict:
        processed_count = 0
        for item in range(task.input_data["items"]):
            if self.context.is_stopping():
                return {"status": "interrupted", "progress": processed_count}
            await asyncio.sleep(0.1 * SECOND)  # the work
            processed_count = item + 1
        return {"status": "completed"}


class DatabaseAgent(BaseAgent):
    """3. What on_start opens, on_stop closes. It runs after every start, also after one that failed half-way."""

    async def on_start(self) -> None:
        self.db = sqlite3.connect(":memory:", check_same_thread=False)
        print("Database open")

    async def on_stop(self) -> None:
        if hasattr(self, "db"):
            self.db.close()
            print("Database closed")

    async def execute_task(self, task: Task) -> dict:
        return {"one": self.db.execute("SELECT 1").fetchone()[0]}


class PatientAgent(BaseAgent):
    """4. Give every wait a time-out."""

    async def execute_task(self, task: Task) -> dict:
        message_id = await self.context.send_message(["silent-agent"], "query", {"question": "Anyone?"}, "ask-1")
        try:
            await self.context.wait_for_response(correlation_id="ask-1", timeout_seconds=0.2)
        except TimeoutError:
            return {"answer": None, "asked": bool(message_id)}
        return {"answer": "yes"}


class SilentAgent:
    async def on_message(self, message: AgentMessage) -> None:
        """Give no answer."""


class LoggingAgent(BaseAgent):
    """5. Log with the context's logger: it carries the agent's name."""

    async def execute_task(self, task: Task) -> dict:
        self.context.logger.info("Starting task")
        self.context.logger.debug(f"Input: {task.input_data}")
        result = {"logger": self.context.logger.name}
        self.context.logger.info("Task completed")
        return result


async def main() -> None:
    agents = (CarefulAgent, BatchAgent, DatabaseAgent, PatientAgent, SilentAgent, LoggingAgent)
    names = ("careful-agent", "batch-agent", "database-agent", "patient-agent", "silent-agent", "logging-agent")
    async with AgentRuntime() as runtime:
        for name, agent in zip(names, agents, strict=True):
            await runtime.register_agent(name, agent)
            await runtime.start_agent(name)

        batch_id = await runtime.submit_task("batch", {"items": 100_000}, agent="batch-agent")
        for name, agent, input_data in (
            ("divide", "careful-agent", {"divisor": 0}),
            ("select", "database-agent", {}),
            ("ask", "patient-agent", {}),
            ("log", "logging-agent", {}),
        ):
            task_id = await runtime.submit_task(name, input_data, agent=agent, timeout_seconds=300)
            task = await runtime.wait_for_task(task_id, timeout_seconds=10)
            print(f"{name}: {task.output_data}")

        await runtime.stop_agent("batch-agent", graceful=True)
        batch = await runtime.wait_for_task(batch_id, timeout_seconds=10)
        print(f"batch: {batch.output_data['status']}")


if __name__ == "__main__":
    asyncio.run(main())
