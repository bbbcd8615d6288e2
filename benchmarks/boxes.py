"""Boxes at every level that works here, beside what others have between processes."""

from __future__ import annotations

from benchmarks.measurement import Bound, Entry, Measurement

LEVELS = ("process", "bubblewrap", "gvisor", "microvm")


def _ours(function: str, arguments: dict[str, dict[str, object]]) -> tuple[Entry, ...]:
    return tuple(
        Entry(f"shoal, {level}", f"benchmarks.box_runs:{function}", {"level": level, **arguments[level]}, note)
        for level, note in zip(LEVELS, ("", "", "", "QEMU; interpreted where KVM does not work"), strict=True)
        if level in arguments
    )


def _budget(figure: str, least: bool = False, **levels: float) -> tuple[Bound, ...]:
    return tuple(
        Bound(figure, "goal", **{"least" if least else "most": value}, of=f"shoal, {level}")
        for level, value in levels.items()
    )


def _counts(**levels: int) -> dict[str, dict[str, object]]:
    return {level: {"count": count} for level, count in levels.items()}


_FEW = {"microvm": 2}
_START = _counts(process=20, bubblewrap=20, gvisor=8, **_FEW)
_TALK = _counts(process=5000, bubblewrap=5000, gvisor=2000)
_PUBLISH = _counts(process=500, bubblewrap=500, gvisor=200)
_MANY = _counts(process=100, bubblewrap=100, gvisor=20, **_FEW)
_WORK = _counts(process=20, bubblewrap=20, gvisor=8)
_TALK["microvm"] = {"count": 300, "lanes": 1}

MEASUREMENTS = (
    Measurement(
        name="boxes-start",
        what="boxes: one created until it is ready, one after the other",
        figures={"cold_ms": "p50 ms", "warm_ms": "p50 ms with four spare ones"},
        entries=_ours("start", _START),
        bounds=(
            *_budget("cold_ms", process=30, bubblewrap=40, gvisor=300, microvm=6000),
            *_budget("warm_ms", process=10, bubblewrap=10),
        ),
        quick={"count": 2},
        runs=2,
    ),
    Measurement(
        name="boxes-talk",
        what="boxes: 1 KiB from box to box and back, one at a time; from the host; ten pairs at once",
        figures={
            "p50_ms": "p50 ms", "p99_ms": "p99 ms", "per_s": "requests/s", "host_p50_ms": "p50 ms from the host",
            "host_p99_ms": "p99 ms from the host", "ten_per_s": "requests/s of ten pairs",
        },
        entries=(
            *_ours("talk", _TALK),
            Entry("ray", "benchmarks.peers.ray_:talk", {"count": 2000, "many": 1}, "an actor asks another"),
            Entry("autogen-core gRPC", "benchmarks.peers.autogen_grpc_:talk", {"count": 2000}, "one host, two workers"),
            Entry("nats", "benchmarks.peers.nats_:talk", {"count": 5000, "lanes": 10}, "nats-py, request; no walls"),
        ),
        bounds=(
            *_budget("p50_ms", process=0.25, bubblewrap=0.25, gvisor=0.6, microvm=3),
            *_budget("p99_ms", process=0.8, bubblewrap=0.8, gvisor=2, microvm=10),
            *_budget("host_p50_ms", process=0.1, bubblewrap=0.1, gvisor=0.25, microvm=1),
            *_budget("host_p99_ms", process=0.4, bubblewrap=0.4, gvisor=0.8, microvm=4),
            *_budget("per_s", least=True, process=4000, bubblewrap=4000),
            *_budget("ten_per_s", least=True, process=6000, bubblewrap=6000),
            *(
                Bound("p50_ms", "floor", most=1, against=peer, of=f"shoal, {level}")
                for level in ("process", "bubblewrap")
                for peer in ("ray", "autogen-core gRPC", "nats")
            ),
        ),
        quick={"count": 100},
        runs=2,
        timeout_seconds=240,
    ),
    Measurement(
        name="boxes-publish",
        what="boxes: an event to ten, until ten mailboxes have it; until ten handlers have said so to the host",
        figures={"taken_p95_ms": "p95 ms", "handled_p95_ms": "p95 ms until handled"},
        entries=_ours("publish", _PUBLISH),
        bounds=_budget("taken_p95_ms", process=2, bubblewrap=2),
        quick={"count": 20},
        runs=2,
    ),
    Measurement(
        name="boxes-many",
        what="boxes: 100 at once (gvisor 20, microvm 2); what each takes while it serves and nobody asks",
        figures={
            "per_s": "boxes/s", "many_s": "20 started, s", "each_mb": "MiB each (shared parts divided)",
            "host_kb": "KiB each in the host", "idle_percent": "% of a core, all",
        },
        entries=(
            *_ours("many", _MANY),
            Entry("ray", "benchmarks.peers.ray_:starts", {"many": 20}, "20 actors"),
        ),
        bounds=(
            *_budget("per_s", least=True, process=50, bubblewrap=35, gvisor=5),
            *_budget("each_mb", process=8, bubblewrap=8, gvisor=30, microvm=260),
            *_budget("host_kb", process=200, bubblewrap=200, gvisor=200),
            *_budget("idle_percent", process=2, bubblewrap=2),
            Bound("many_s", "floor", most=0.1, against="ray", of="shoal, process"),
            Bound("many_s", "floor", most=0.1, against="ray", of="shoal, bubblewrap"),
        ),
        quick={"count": 3},
        runs=2,
        timeout_seconds=240,
    ),
    Measurement(
        name="boxes-work",
        what="boxes: a command; a program of 10 MB until it is ready; from a question to the news of the death it caused",
        figures={"exec_p50_ms": "p50 ms for true", "program_ms": "ms for the program", "death_p95_ms": "p95 ms, death"},
        entries=_ours("work", _WORK),
        bounds=(
            *_budget("exec_p50_ms", process=15, bubblewrap=15, gvisor=15),
            *_budget("program_ms", process=150, bubblewrap=150, gvisor=150),
            *_budget("death_p95_ms", process=100, bubblewrap=100, gvisor=100),
        ),
        quick={"count": 4},
        runs=2,
    ),
)  # fmt: skip
