"""The same question, shorter: a message handler answers, and ``request`` waits for the answer."""

import asyncio
import re

from shoal.runtime import AgentMessage, AgentRuntime, BaseAgent, Task


class QueryAgent(BaseAgent):
    """Asks questions."""

    async def execute_task(self, task: Task) -> dict:
        response = await self.context.request("helper-agent", "query", {"question": "What is 2+2?"}, timeout_seconds=5)
        return {"answer": response.data["answer"]}


class HelperAgent:
    """Answers questions. It has no execute_task, so it takes no tasks."""

    async def on_message(self, message: AgentMessage) -> dict:
        numbers = re.findall(r"\d+", message.data["question"])  # parsed, never evaluated
        return {"answer": sum(map(int, numbers))}


async def main() -> None:
    async with AgentRuntime() as runtime:
        for name, agent in (("query-agent", QueryAgent), ("helper-agent", HelperAgent)):
            await runtime.register_agent(name, agent)
            await runtime.start_agent(name)

        query_task_id = await runtime.submit_task("query-task", agent="query-agent")
        query = await runtime.wait_for_task(query_task_id, timeout_seconds=10)
        print(f"Query result: {query.output_data}")


if __name__ == "__main__":
    asyncio.run(main())
