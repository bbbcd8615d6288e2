"""``LoadBalancerAgent``: forwards requests to the workers of a capability."""

from __future__ import annotations

from typing import Any

from shoal.errors import CircuitOpen, RequestError
from shoal.services import codes
from shoal.services.agent import ServiceAgent
from shoal.services.balancer import LoadBalancer, WorkerStats
from shoal.services.info import AgentInfo, AgentType
from shoal.services.orders import control_action
from shoal.services.targets import Capability

__all__ = ["LoadBalancerAgent"]


class LoadBalancerAgent(ServiceAgent):
    """Forwards each request to a worker; the answer gains ``routed_by`` and ``worker``, its instance.

    Config: ``capability`` (``worker``), ``strategy`` (``round_robin``), ``retries`` (2). Without a worker NO_WORKERS;
    what a worker did not answer well is WORKER_ERROR, with the worker's own code in ``details``.
    """

    concurrency = 64

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._workers = Capability(self.config.get("capability", "worker"))
        chosen = {name: self.config[name] for name in ("strategy", "retries") if name in self.config}
        self._workers_of = LoadBalancer(self, **chosen)

    def info(self) -> AgentInfo:
        """Say who it is."""
        name = type(self).__name__
        return AgentInfo(name=name, capabilities=("load_balancer", "proxy"), type=AgentType.HYBRID)

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Forward a request."""
        try:
            reply = await self._workers_of.call(self._workers, payload, idempotent=bool(self.config.get("idempotent")))
        except RequestError as error:
            if error.code == codes.NO_WORKERS:
                raise RequestError(codes.NO_WORKERS, "No workers available") from None
            details = {"code": error.code, "details": error.details}
            retryable = isinstance(error, CircuitOpen)
            raise RequestError(codes.WORKER_ERROR, f"Worker failed: {error}", details, retryable) from error
        return {**reply.data, "routed_by": self.inner.info.name, "worker": reply.record.instance}

    @control_action("stats")
    def worker_stats(self) -> dict[str, Any]:
        """Return what each worker was asked, by its instance."""
        return {name: _plain(stats) for name, stats in self._workers_of.stats.items()}


def _plain(stats: WorkerStats) -> dict[str, Any]:
    return {field: getattr(stats, field) for field in stats.__struct_fields__}
