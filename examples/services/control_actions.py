"""Pause, resume, reconfigure and drain a service while it works."""

import asyncio
from typing import Any

from shoal.runtime import AgentRuntime
from shoal.services import RequestError, ServiceAgent, control_action


class GreeterAgent(ServiceAgent):
    """Greets with the words of its config."""

    def __init__(self, config: dict | None = None) -> None:
        super().__init__(config)
        self.greeted = 0

    def info(self) -> dict:
        return {"name": "greeter", "type": "server", "capabilities": ["greetings"]}

    def process_request(self, payload: dict) -> dict:
        self.greeted += 1
        return {"text": f"{self.config['greeting']}, {payload['name']}!"}

    def on_config(self, old: dict, new: dict) -> None:
        if not new.get("greeting"):
            raise ValueError("greeting must not be empty")

    @control_action("reset")
    def reset(self) -> dict:
        greeted, self.greeted = self.greeted, 0
        return {"greeted": greeted}


async def main() -> None:
    async with AgentRuntime(store="sqlite://:memory:") as runtime:
        services = runtime.services
        greeter = await services.start(GreeterAgent, {"greeting": "Hello", "api_key": "abc"})

        async def greet(name: str) -> str:
            return (await services.request(greeter, {"name": name}))["text"]

        async def control(action: str, data: dict | None = None) -> Any:
            return await services.control(greeter, action, data)

        print(await greet("Ada"))
        print(await control("update_config", {"config": {"greeting": "Hi"}}))
        print(await greet("Ada"))
        for action, data in (("update_config", {"config": {"greeting": ""}}), ("dance", None)):
            try:
                await control(action, data)
            except RequestError as error:
                print(error.code, "-", error.message)

        print(await control("pause"))
        waiting = [asyncio.create_task(greet(name)) for name in ("Bob", "Eve")]
        status = await control("status")
        while status["queued"] < len(waiting):
            await asyncio.sleep(0.01)
            status = await control("status")
        print(status["state"], status["config"])
        print(await control("resume"))
        print(await asyncio.gather(*waiting))

        print(await control("reset"))
        print(await control("drain"))


if __name__ == "__main__":
    asyncio.run(main())
