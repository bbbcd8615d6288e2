"""Runs in a box: asks worker-b, and tells everybody what came out of it. Arguments: a task as JSON."""

import json
import sys

from boxlite_runtime import publish_event, send_message

print("[agent_a] Starting...")
task = json.loads(sys.argv[1]) if sys.argv[1:] else {"task": "double", "value": 21}

print("[agent_a] Sending message to worker-b...")
result = send_message("worker-b", task)
print(f"[agent_a] Got response from worker-b: {result}")

print("[agent_a] Publishing 'task_complete' event...")
publish_event("task_complete", {"status": "success", "result": result})
print("[agent_a] Done!")
