"""Services for programs in other languages: a registry and requests over HTTP (extra http)."""

import asyncio

from shoal.runtime import AgentRuntime
from shoal.services import RegistryClient, RequestError, ServiceAgent, codes

TOKENS = {"reader-token": "read", "admin-token": "admin"}


class TranslatorAgent(ServiceAgent):
    """Knows one word."""

    def info(self) -> dict:
        return {"name": "translator", "type": "server", "capabilities": ["translation", "german"]}

    def process_request(self, payload: dict) -> dict:
        if payload.get("word") != "Fisch":
            raise RequestError(codes.NOT_FOUND, f"no translation of {payload.get('word')}")
        return {"translation": "fish"}


async def main() -> None:
    async with AgentRuntime(store="sqlite://:memory:") as runtime:
        await runtime.services.start(TranslatorAgent)
        serving = await runtime.services.serve_http("127.0.0.1", 0, TOKENS)  # in production say the port

        async with RegistryClient(serving.url, token="admin-token") as registry:
            (found,) = await registry.discover(["german"])
            print("found:", found.name, found.capabilities)
            print("answer:", await registry.request(found.uuid, {"word": "Fisch"}))
            try:
                await registry.request(found.uuid, {"word": "Vogel"})
            except RequestError as error:
                print("refused:", error.code, error.message)

        async with RegistryClient(serving.url, token="reader-token") as registry:
            try:
                await registry.control(found.uuid, "shutdown")
            except RequestError as error:
                print("a reader may not control:", error.code)


if __name__ == "__main__":
    asyncio.run(main())
