"""What ``import shoal`` adds to an interpreter that has asyncio, and how many distributions an installation has."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import time

from benchmarks.common import percentile
from benchmarks.measurement import Bound, Entry, Measurement


def cost(module: str, distribution: str, times: int = 15) -> dict[str, float]:
    """Return the milliseconds of an import over those of asyncio, and how many distributions come with it."""
    base, whole = [], []
    for _ in range(times):
        base.append(_seconds("import asyncio"))
        whole.append(_seconds(f"import asyncio, {module}"))
    return {
        "import_ms": (percentile(whole, 0.5) - percentile(base, 0.5)) * 1e3,
        "distributions": len(_closure(distribution, set())) - 1,
    }


def _seconds(code: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - begun


def _closure(distribution: str, seen: set[str]) -> set[str]:
    name = re.sub(r"[-_.]+", "-", distribution).lower()
    try:
        needs = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return seen  # for another system or Python
    if name not in seen:
        seen.add(name)
        for need in needs:
            if "extra ==" not in need:
                _closure(re.split(r"[^A-Za-z0-9._-]", need, maxsplit=1)[0], seen)
    return seen


def _entry(who: str, module: str, note: str = "") -> Entry:
    distribution = who.partition(" ")[0]
    function = "benchmarks.imports:cost" if distribution == "shoal" else "benchmarks.peers.imports_:cost"
    return Entry(who, function, {"module": module, "distribution": distribution}, note)


_PATTERNS = "shoal.llm.agent, shoal.llm.doubles, shoal.orchestration.supervisor, shoal.orchestration.debate"

MEASUREMENTS = (
    Measurement(
        name="imports",
        what="import, over an interpreter with asyncio; distributions installed",
        figures={"import_ms": "import ms", "distributions": "distributions beside it"},
        entries=(
            _entry("shoal", "shoal", "names are resolved when they are used"),
            _entry("shoal runtime", "shoal.runtime", "all that an AgentRuntime needs"),
            _entry("shoal orchestration", "shoal.orchestration", "names are resolved when they are used"),
            _entry("shoal models and patterns", _PATTERNS, "all that an agent of a model in a pattern needs"),
            _entry("huey", "huey"),
            _entry("dramatiq", "dramatiq"),
            _entry("dbos", "dbos"),
            _entry("pykka", "pykka"),
            _entry("autogen-core", "autogen_core"),
            _entry("ray", "ray"),
            _entry("pydantic-ai-slim", "pydantic_ai"),
            _entry("langchain", "langchain.agents", "create_agent of LangGraph"),
            _entry("openai-agents", "agents"),
        ),
        bounds=(
            Bound("import_ms", "floor", most=100),
            Bound("distributions", "floor", most=12),
            Bound("import_ms", "goal", most=100, of="shoal orchestration"),
        ),
        quick={"times": 3},
        runs=1,
    ),
)
