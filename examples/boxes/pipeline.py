"""Coder, reviewer and tester, each in a box of its own: what the coder wrote is reviewed, then really run.

Run it with: python examples/boxes/pipeline.py [--isolation process|bubblewrap|gvisor|microvm|auto]
"""

from __future__ import annotations

import argparse
import asyncio

from shoal.boxes import Box, BoxRuntime

FIBONACCI = "def fibonacci(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a\n"
WRONG = "def fibonacci(n):\n    return n\n"


def install_coder(coder: Box, code: str) -> None:
    @coder.task
    def write():
        from shoal_guest import publish_event, send_message

        review = send_message(
            "reviewer", {"code": code, "function": "fibonacci", "cases": [[20, 6765], [1, 1], [0, 0]]}
        )
        publish_event("pipeline_complete", {"approved": review["approved"], "reason": review.get("reason", "")})
        return review


def install_reviewer(reviewer: Box) -> None:
    @reviewer.on_message
    def review(sender, data):
        from shoal_guest import send_message

        code = data["code"]
        if not code.strip():
            return {"approved": False, "reason": "Empty code"}
        if "def " not in code:
            return {"approved": False, "reason": "No function definition found"}
        tests = send_message("tester", data)
        if not tests["passed"]:
            return {"approved": False, "reason": f"Tests failed: {'; '.join(tests['failures'])}"}
        return {"approved": True, "results": tests["results"]}

    @reviewer.on_event("pipeline_complete")
    def done(data):
        print(f"[reviewer] pipeline_complete: approved {data['approved']} {data['reason']}".rstrip())


def install_tester(tester: Box) -> None:
    @tester.on_message
    def test(sender, data):
        names = {}
        exec(data["code"], names)
        results, failures = {}, []
        for argument, expected in data["cases"]:
            found = results[str(argument)] = names[data["function"]](argument)
            if found != expected:
                failures.append(f"{data['function']}({argument}) is {found}, not {expected}")
        return {"passed": not failures, "results": results, "failures": failures}

    @tester.on_event("pipeline_complete")
    def done(data):
        print(f"[tester] pipeline_complete: approved {data['approved']} {data['reason']}".rstrip())


async def main(isolation: str) -> None:
    async with BoxRuntime(isolation) as runtime:
        coder, reviewer, tester = [await runtime.create_box(name) for name in ("coder", "reviewer", "tester")]
        install_reviewer(reviewer)
        install_tester(tester)
        await reviewer.run()
        await tester.run()
        for code in (FIBONACCI, "", "x = 1", WRONG):
            install_coder(coder, code)
            await coder.run()
            assert await coder.wait() == 0, coder.error
            review = coder.result
            told = review.get("reason") or f"fibonacci(20) == {review['results']['20']}"
            print(f"approved {review['approved']}: {told}")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="A pipeline of three boxes.")
    arguments.add_argument("--isolation", default="auto", help="process, bubblewrap, gvisor, microvm, auto")
    asyncio.run(main(arguments.parse_args().isolation))
