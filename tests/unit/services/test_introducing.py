"""What a service says of itself before it is started: constructors that cannot be called, or that would end the runtime."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from shoal.errors import AgentStartError, InfoError
from shoal.services import ServiceAgent
from shoal.services.introducing import described_by


class _Said(ServiceAgent):
    def info(self) -> dict[str, Any]:
        return {"name": "said", "capabilities": ["x"]}


class _Leaves(_Said):
    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        sys.exit("there is no key")


class _LeavesLater(_Said):
    def info(self) -> dict[str, Any]:
        sys.exit()


class _NoConfig(_Said):
    def __init__(self) -> None:
        super().__init__()


class _More(_Said):
    def __init__(self, config: dict[str, Any], path: str) -> None:
        super().__init__(config | {"path": path})


class _Raises(_Said):
    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self.factor = self.config["factor"]


def test_a_class_is_made_with_its_config() -> None:
    assert described_by(_Said, {"a": 1}).config == {"a": 1}
    with pytest.raises(InfoError, match="int is no ServiceAgent"):
        described_by(int, {})


@pytest.mark.parametrize(
    ("agent", "text"),
    [
        (_Leaves, "the constructor of _Leaves called sys.exit('there is no key')"),
        (_LeavesLater, "info() of _LeavesLater called sys.exit()"),
    ],
)
def test_sys_exit_of_one_service_does_not_end_all(agent: type[ServiceAgent], text: str) -> None:
    with pytest.raises(AgentStartError) as raised:
        described_by(agent, {})
    assert str(raised.value) == text


@pytest.mark.parametrize("agent", [_NoConfig, _More])
def test_a_constructor_takes_the_config_and_nothing_else(agent: type[ServiceAgent]) -> None:
    with pytest.raises(AgentStartError) as raised:
        described_by(agent, {})
    assert str(raised.value) == f"{agent.__qualname__} cannot be made with a config alone"
    assert raised.value.__notes__ == ["Write def __init__(self, config=None), and in it super().__init__(config)."]


def test_what_a_constructor_raises_is_raised() -> None:
    with pytest.raises(KeyError, match="factor"):
        described_by(_Raises, {})
    assert described_by(_Raises, {"factor": 2}).config == {"factor": 2}
