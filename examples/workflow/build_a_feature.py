"""A team builds a user authentication API: it plans, researches, writes code, runs its tests in a box, reviews and corrects.

Run it with: python examples/workflow/build_a_feature.py [--model openai:gpt-6-luna] [--isolation bubblewrap]
Without --model the models are scripted: it needs no key and costs nothing. The code that they hand in is real, and so are
its tests: they run in a box, whose walls are the strongest that this machine has. Where it has none, this says why; code
that you trust runs in a plain process with --isolation process.
Killed anywhere and started again, it goes on where it was. To begin anew, remove auth.db.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from auth_team.script import script
from auth_team.team import BRIEF, build_team

from shoal import AgentRuntime, Budget, IsolationUnavailableError

BUDGET = Budget(max_cost=2.00, max_calls=60, unpriced="allow")  # a model behind a gateway may have no known price


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="provider:name")
    parser.add_argument("--isolation", default="auto", help="where the code runs: auto (default), bubblewrap, ...")
    args = parser.parse_args()

    async with AgentRuntime("auth.db") as runtime:
        runner = runtime.code_runner(args.isolation)
        try:
            await runner.check()
        except IsolationUnavailableError as error:
            print(f"{error}\nCode that you trust runs in a plain process: --isolation process", file=sys.stderr)
            return 1
        team = build_team(args.model or script(), runner)
        report = await runtime.run(team, BRIEF, run_id="auth-1", budget=BUDGET)
        print(report.trace_text())
        print()
        if report.tests is not None:
            print(f"Tests: {report.tests.passed} of {report.tests.total} passed ({report.tests.source})")
        if report.coverage is not None:
            print(f"Coverage: {report.coverage:.1f} %")
        print(f"Reviews: {', '.join(f'{each.review.score}/100' for each in report.reviews)}")
        print(f"Cost: ${report.total_cost:.2f} for {report.usage.calls} calls")
        print("Ready for deployment" if report.ready else f"Not ready: {'; '.join(report.not_ready)}")
        return 0 if report.ready else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
