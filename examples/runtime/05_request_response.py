"""One agent asks, another answers, both inside a task."""

import asyncio
import re
from uuid import uuid4

from shoal.runtime import AgentRuntime, BaseAgent, Task


class QueryAgent(BaseAgent):
    """Asks questions."""

    async def execute_task(self, task: Task) -> dict:
        ask = str(uuid4())
        await self.context.send_message(["helper-agent"], "query", {"question": "What is 2+2?"}, correlation_id=ask)
        try:
            return {"answer": (await self.context.wait_for_response(ask, timeout_seconds=5)).data["answer"]}
        except TimeoutError:
            return {"error": "No response"}


class HelperAgent(BaseAgent):
    """Answers questions."""

    async def execute_task(self, task: Task) -> dict:
        mail = await self.context.receive_messages(block=True, timeout_seconds=5)
        for query in (m for m in mail if m.message_type == "query"):
            numbers = re.findall(r"\d+", query.data["question"])  # parsed, never evaluated
            await self.context.reply(query, {"answer": sum(map(int, numbers))})
        return {"queries_processed": len(mail)}


async def main() -> None:
    async with AgentRuntime() as runtime:
        for name, agent in (("query-agent", QueryAgent), ("helper-agent", HelperAgent)):
            await runtime.register_agent(name, agent)
            await runtime.start_agent(name)

        helper_task_id = await runtime.submit_task("helper-listen", agent="helper-agent")
        query_task_id = await runtime.submit_task("query-task", agent="query-agent")

        _, query = await runtime.wait_for_tasks([helper_task_id, query_task_id], timeout_seconds=10)
        print(f"Query result: {query.output_data}")


if __name__ == "__main__":
    asyncio.run(main())
