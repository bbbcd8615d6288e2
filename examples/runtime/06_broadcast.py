"""One agent tells all others."""

import asyncio

from shoal.runtime import AgentRuntime, BaseAgent, Task


class BroadcasterAgent(BaseAgent):
    async def execute_task(self, task: Task) -> dict:
        return {"reached": await self.context.broadcast_message("alert", {"text": "maintenance in 5 minutes"})}


class ListenerAgent(BaseAgent):
    async def execute_task(self, task: Task) -> dict:
        mail = await self.context.receive_messages(block=True, timeout_seconds=5)
        return {"alerts_received": sum(m.message_type == "alert" for m in mail)}


async def main() -> None:
    async with AgentRuntime() as runtime:
        await runtime.register_agent("broadcaster", BroadcasterAgent)
        await runtime.start_agent("broadcaster")
        listeners = [f"listener-{i}" for i in range(3)]
        for name in listeners:
            await runtime.register_agent(name, ListenerAgent)
            await runtime.start_agent(name)

        listen_ids = [await runtime.submit_task(f"listen-{i}", agent=name) for i, name in enumerate(listeners)]
        broadcast_id = await runtime.submit_task("broadcast", agent="broadcaster")

        *heard, _ = await runtime.wait_for_tasks([*listen_ids, broadcast_id], timeout_seconds=10)
        for task in heard:
            print(f"Listener received: {task.output_data['alerts_received']} alerts")


if __name__ == "__main__":
    asyncio.run(main())
