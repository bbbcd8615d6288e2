"""How a supervisor chooses workers, in which time, and when it has succeeded."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from shoal.orchestration.checks import check_count, check_flag, check_seconds

__all__ = ["SupervisorConfig", "WorkerSelectionMode"]


class WorkerSelectionMode(StrEnum):
    """Who works: all on the same task, those whom the planner chooses, or these one after the other."""

    ALL = "all"
    SELECTIVE = "selective"
    SEQUENTIAL = "sequential"


@dataclass(frozen=True)
class SupervisorConfig:
    """What a supervisor goes by.

    Args:
        mode: a ``WorkerSelectionMode`` or its value. ``all``: no planner, the same task to each; ``selective``: the planner
            chooses; ``sequential``: it plans once, and they work one after the other, each seeing what was done before.
        max_workers_per_step: how many assignments make a wave, which works at once; further ones wait for the next wave.
        max_iterations: how often a selective supervisor lets workers work.
        allow_replanning: whether a selective planner sees what they did, and plans again until it says that all is done.
        planning_timeout, worker_timeout, synthesis_timeout: seconds for each such call. None: no limit.
        require_all_workers: whether it fails when a worker did.
        min_successful_workers: how many must succeed.
        include_reasoning: whether the planner is asked for its reasons.
        include_worker_outputs: whether the content ends with what the workers said.
        on_bad_plan: what becomes of a task that could not be planned: ``all`` workers get it, or the run must ``fail``.

    Raises:
        ValueError: a field, its value and what is allowed.
    """

    mode: WorkerSelectionMode | Literal["all", "selective", "sequential"] = WorkerSelectionMode.SELECTIVE
    max_workers_per_step: int = 5
    max_iterations: int = 3
    allow_replanning: bool = True
    planning_timeout: float | None = 60.0
    worker_timeout: float | None = 120.0
    synthesis_timeout: float | None = 60.0
    require_all_workers: bool = False
    min_successful_workers: int = 1
    include_reasoning: bool = True
    include_worker_outputs: bool = False
    on_bad_plan: Literal["all", "fail"] = "all"

    def __post_init__(self) -> None:
        modes = [str(mode) for mode in WorkerSelectionMode]
        if self.mode not in modes:
            raise ValueError(f"mode={self.mode!r:.80}: it must be one of {', '.join(modes)}")
        object.__setattr__(self, "mode", WorkerSelectionMode(self.mode))
        for field in ("max_workers_per_step", "max_iterations", "min_successful_workers"):
            check_count(getattr(self, field), field)
        for field in ("planning_timeout", "worker_timeout", "synthesis_timeout"):
            check_seconds(getattr(self, field), field)
        for field in ("allow_replanning", "require_all_workers", "include_reasoning", "include_worker_outputs"):
            check_flag(getattr(self, field), field)
        if self.on_bad_plan not in ("all", "fail"):
            raise ValueError(f"on_bad_plan={self.on_bad_plan!r:.80}: it must be 'all' or 'fail'")
