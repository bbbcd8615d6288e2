"""Runs in a box: answers what it is asked, and hears of finished tasks."""

from boxlite_runtime import on_event, on_message, run_forever

print("[agent_b] Starting, waiting for messages...")


def fibonacci(n):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


@on_message
def handle(sender, data):
    print(f"[agent_b] Received message from {sender}: {data}")
    match data:
        case {"task": "double", "value": value}:
            answer = {"doubled": value * 2}
        case {"task": "fibonacci", "n": n}:
            answer = {"fibonacci": fibonacci(n)}
        case {"task": "echo"}:
            answer = {"echo": data}
        case _:
            answer = {"error": f"unknown task: {data.get('task') if isinstance(data, dict) else data!r}"}
    print(f"[agent_b] Responding with: {answer}")
    return answer


@on_event("task_complete")
def on_complete(data):
    print(f"[agent_b] Received 'task_complete' event: {data}")


run_forever()
