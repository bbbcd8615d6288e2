"""An agent that calls an HTTP service. The service runs here, so that the example needs no network.

``on_start`` makes the client, ``on_stop`` closes it: once each, however many tasks there are between.
"""

import asyncio
import http.client
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from shoal.runtime import AgentRuntime, BaseAgent, Task


class APIAgent(BaseAgent):
    async def on_start(self) -> None:
        """Make the HTTP client."""
        self.client = http.client.HTTPConnection("127.0.0.1", self.config["port"], timeout=30.0)
        self.context.logger.info("HTTP client initialized")

    async def on_stop(self) -> None:
        """Close it."""
        self.client.close()
        self.context.logger.info("HTTP client closed")

    async def execute_task(self, task: Task) -> dict:
        try:
            # The client of the standard library blocks, so it works in a thread.
            data = await asyncio.to_thread(self.fetch, task.input_data["path"])
            return {"data": data, "success": True}
        except (http.client.HTTPException, OSError) as error:
            self.context.logger.error("API error: %s", error)
            return {"error": str(error), "success": False}

    def fetch(self, path: str) -> object:
        self.client.request("GET", path)
        response = self.client.getresponse()
        body = response.read()
        if response.status >= 400:
            raise http.client.HTTPException(f"{response.status} {response.reason} for {path}")
        return json.loads(body)


class Service(BaseHTTPRequestHandler):
    """Answers /data with a value and everything else with an error."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        good = self.path == "/data"
        body = json.dumps({"value": 42} if good else {"detail": "out of order"}).encode()
        self.send_response(200 if good else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""


async def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    service = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=service.serve_forever, daemon=True).start()

    async with AgentRuntime() as runtime:
        agent_id = await runtime.register_agent("api-agent", APIAgent, {"port": service.server_port})
        await runtime.start_agent(agent_id)

        for path in ("/data", "/broken"):
            task_id = await runtime.submit_task(name="fetch-data", input_data={"path": path})
            task = await runtime.wait_for_task(task_id, timeout_seconds=60)
            if task.output_data["success"]:
                print(f"API returned: {task.output_data['data']}")
            else:
                print(f"API error: {task.output_data['error']}")

    service.shutdown()
    service.server_close()


if __name__ == "__main__":
    asyncio.run(main())
