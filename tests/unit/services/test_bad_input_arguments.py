"""Bad arguments: numbers that cannot be, words that nobody knows. Each is refused at the call, and nothing is begun."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shoal.runtime import AgentRuntime
from shoal.services import (
    AgentProcessManager,
    Bulkhead,
    CircuitBreaker,
    LoadBalancer,
    MemoryAwareAgent,
    MultiAgentProcess,
    Pool,
    RegistryClient,
    registry_app,
)
from shoal.services.registry import serve_registry
from tests.support.instances import Crowd
from tests.support.runtimes import running
from tests.support.servers import Asker, Echo

Run = Callable[..., Any]
NAN = float("nan")
STRATEGIES = ("roundrobin", "", "ROUND_ROBIN", 5, None)


@pytest.mark.spec("S49")
@pytest.mark.parametrize("timeout", [0, -1, -0.0, NAN])
def test_negative_or_zero_timeout(run: Run, timeout: float) -> None:
    async def main() -> None:
        async with running("sqlite://:memory:") as runtime:
            services = runtime.services
            echo = await services.start(Echo)
            with pytest.raises(ValueError, match="timeout must be positive"):
                await services.request(echo, {"n": 1}, timeout=timeout)
            with pytest.raises(ValueError, match="timeout must be positive"):
                await LoadBalancer(services).call(echo, {"n": 1}, timeout=timeout)
            pool = Pool("p", min_size=0, max_size=1, max_queue=0)
            with pytest.raises(ValueError, match="timeout must be positive"):
                await pool.run(print, timeout=timeout)
            assert (pool.stats().size, services._balancer.stats) == (0, {})
            assert (await services.control(echo, "status"))["requests"] == 0

    run(main)


@pytest.mark.spec("S49")
@pytest.mark.parametrize("timeout", [0, -1, NAN])
def test_negative_or_zero_timeout_of_an_agents_own_request(run: Run, timeout: float) -> None:
    class Hasty(Asker):
        async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
            with pytest.raises(ValueError, match="timeout must be positive"):
                await self.send_request("echo", {"n": 1}, timeout=timeout)
            return {"refused": True}

    async def main() -> None:
        async with running("sqlite://:memory:") as runtime:
            await runtime.services.start(Echo)
            hasty = await runtime.services.start(Hasty)
            assert await runtime.services.request(hasty, {}) == {"refused": True}

    run(main)


@pytest.mark.spec("S49")
@pytest.mark.parametrize("grace", [-1, -0.001, NAN])
def test_negative_grace(run: Run, grace: float) -> None:
    async def main() -> None:
        async with running("sqlite://:memory:") as runtime:
            echo = await runtime.services.start(Echo)
            group, manager = MultiAgentProcess(runtime), AgentProcessManager(runtime)
            for stop in (
                lambda: runtime.services.stop(echo.instance, grace),
                lambda: group.stop_all(grace),
                lambda: manager.stop_all_processes(grace),
            ):
                with pytest.raises(ValueError, match="grace must be seconds from 0"):
                    await stop()
            with pytest.raises(ValueError, match="grace"):
                AgentProcessManager(runtime, grace=grace)
            assert (await runtime.services.request(echo, {"n": 1}))["echo"] == 1

    run(main)


@pytest.mark.spec("S49")
@pytest.mark.parametrize("count", [0, -1, True, 1.5, "2", None])
def test_count_that_is_none(run: Run, count: Any) -> None:
    async def main() -> None:
        async with running("sqlite://:memory:") as runtime:
            manager = AgentProcessManager(runtime)
            with pytest.raises(ValueError, match="count must be a whole number from 1"):
                await manager.start_agent_process(Echo, count)
            assert manager.processes == {} and runtime.list_agents() == []

    run(main)


SIZES: list[tuple[str, Callable[[], Any]]] = [
    ("min_size", lambda: Pool("p", min_size=-1, max_size=1, max_queue=1)),
    ("max_size", lambda: Pool("p", min_size=0, max_size=0, max_queue=1)),
    ("max_size", lambda: Pool("p", min_size=3, max_size=2, max_queue=1)),
    ("max_queue", lambda: Pool("p", min_size=0, max_size=1, max_queue=-1)),
    ("idle", lambda: Pool("p", min_size=0, max_size=1, max_queue=1, idle=0)),
    ("kind", lambda: Pool("p", kind="fibre", min_size=0, max_size=1, max_queue=1)),  # type: ignore[arg-type]
    ("max_concurrent", lambda: Bulkhead(0)),
    ("max_concurrent", lambda: Bulkhead(-1)),
    ("max_waiting", lambda: Bulkhead(1, -1)),
    ("failure_threshold", lambda: CircuitBreaker(failure_threshold=0)),
    ("recovery_timeout", lambda: CircuitBreaker(recovery_timeout=-1)),
    ("half_open_max_calls", lambda: CircuitBreaker(half_open_max_calls=0)),
    ("window", lambda: CircuitBreaker(window=NAN)),
    ("retries", lambda: RegistryClient(retries=0)),
    ("retries", lambda: RegistryClient(retries=-1)),
    ("retry_delay", lambda: RegistryClient(retry_delay=-1)),
    ("ttl", lambda: registry_app(AgentRuntime(store="sqlite://:memory:"), ttl=0)),
    ("ttl", lambda: registry_app(AgentRuntime(store="sqlite://:memory:"), ttl=-30)),
]


@pytest.mark.spec("S49")
@pytest.mark.parametrize(("name", "make"), SIZES, ids=[f"{name}{n}" for n, (name, _) in enumerate(SIZES)])
def test_negative_or_zero_size(name: str, make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=name):
        make()


@pytest.mark.spec("S49")
@pytest.mark.parametrize("key", ["memory_check_interval", "memory_limit_mb", "stream_threshold", "chunk"])
@pytest.mark.parametrize("value", [0, -1])
def test_negative_or_zero_size_of_a_memory_aware_agent(key: str, value: int) -> None:
    with pytest.raises(ValueError, match=key):
        MemoryAwareAgent({key: value})


@pytest.mark.spec("S49")
@pytest.mark.parametrize("port", [-1, 65536, True, "80"])
def test_port_that_is_none(run: Run, port: Any) -> None:
    async def main() -> None:
        async with running("sqlite://:memory:") as runtime:
            with pytest.raises(ValueError, match="port"):
                await serve_registry(runtime.services, "127.0.0.1", port, None)

    run(main)


@pytest.mark.spec("S49")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_unknown_strategy_or_negative_retries(strategy: Any) -> None:
    async def main() -> None:
        crowd = Crowd(None)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"strategy must be .*round_robin"):
            LoadBalancer(crowd, strategy)
        with pytest.raises(ValueError, match="retries must not be negative, not -1"):
            LoadBalancer(crowd, retries=-1)

    asyncio.run(main())
