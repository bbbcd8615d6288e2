"""Four services make a report of a document: extract first, then sentiment and summary at once, then the report.

All that is done for a document is one trace: each answer says where it stands in it. Where the services run is the first
argument: inline (without one), thread, process, bubblewrap or gvisor.
"""

import asyncio
import sys

from shoal.runtime import AgentRuntime
from shoal.services import Capability, ServiceAgent

GOOD, BAD = {"good", "great", "love"}, {"bad", "slow", "broken"}
DOCUMENTS = {
    "praise": "I love it. The new search is great.",
    "complaint": "The search is slow. It is broken on Mondays. Bad.",
    "note": "The search has moved. It is on top now.",
}


class Stage(ServiceAgent):
    """A stage of the pipeline: its name is its capability, and its answers say where they belong."""

    name: str
    kind = "server"

    def info(self) -> dict:
        return {"name": self.name, "type": self.kind, "capabilities": [self.name]}

    def stamped(self, payload: dict, **fields: object) -> dict:
        header = self.header
        return {
            "workflow_id": payload["workflow_id"],
            "document_id": payload["document_id"],
            "stage": self.name,
            "trace_id": header.trace_id,
            "span_id": header.span_id,
            "parent_span_id": header.parent_span_id,
            **fields,
        }


class ExtractAgent(Stage):
    name = "extract"

    def process_request(self, payload: dict) -> dict:
        sentences = [each.strip() for each in payload["text"].split(".") if each.strip()]
        words = payload["text"].lower().replace(".", "").split()
        return self.stamped(payload, sentences=sentences, words=words)


class SentimentAgent(Stage):
    name = "sentiment"

    def process_request(self, payload: dict) -> dict:
        score = len(GOOD.intersection(payload["words"])) - len(BAD.intersection(payload["words"]))
        sentiment = "positive" if score > 0 else "negative" if score < 0 else "neutral"
        return self.stamped(payload, sentiment=sentiment)


class SummaryAgent(Stage):
    name = "summary"

    def process_request(self, payload: dict) -> dict:
        return self.stamped(payload, summary=payload["sentences"][0])


class ReportAgent(Stage):
    """Asks the others, and puts together what they found."""

    name = "report"
    kind = "hybrid"
    concurrency = 8

    async def process_request(self, payload: dict) -> dict:
        extracted = await self.send_request(Capability("extract"), payload)
        found = {**payload, "words": extracted["words"], "sentences": extracted["sentences"]}
        sentiment, summary = await asyncio.gather(
            self.send_request(Capability("sentiment"), found),
            self.send_request(Capability("summary"), found),
        )
        report = f"{sentiment['sentiment']}: {summary['summary']} ({len(extracted['sentences'])} sentences)"
        return self.stamped(payload, report=report, stages=[extracted, sentiment, summary])


def show_trace(stages: list[dict], parent: str | None = None, depth: int = 0) -> None:
    for stage in stages:
        if stage["parent_span_id"] == parent:
            print("  " * depth + stage["stage"])
            show_trace(stages, stage["span_id"], depth + 1)


async def main(isolation: str = "inline") -> None:
    async with AgentRuntime(store="sqlite://:memory:") as runtime:
        services = runtime.services
        for agent in (ExtractAgent, SentimentAgent, SummaryAgent, ReportAgent):
            await services.start(agent, isolation=isolation)
        spare = await services.start(SentimentAgent, isolation=isolation)

        def report_on(document_id: str) -> asyncio.Task[dict]:
            document = {"workflow_id": "reviews", "document_id": document_id, "text": DOCUMENTS[document_id]}
            return asyncio.create_task(services.request("report", document))

        for document_id in DOCUMENTS:
            print(document_id, "is", (await report_on(document_id))["report"])

        answer = await report_on("praise")
        stages = [*answer["stages"], answer]
        print("traces:", len({stage["trace_id"] for stage in stages}))
        show_trace(stages)

        reports = [report_on("note") for _ in range(20)]
        await reports[0]
        print("services:", len(services.records()))
        await services.stop(spare.instance)  # one leaves while there is work
        print("services:", len(services.records()))
        print("reports:", len(await asyncio.gather(*reports, report_on("praise"))))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
