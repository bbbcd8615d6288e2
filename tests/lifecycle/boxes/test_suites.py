"""Every level that runs here keeps what every level must."""

from __future__ import annotations

import pytest

from shoal.testing import box_suite
from tests.support.levels import need

pytestmark = pytest.mark.spec("B53")


@pytest.fixture(params=["process", "bubblewrap", "gvisor", "microvm"])
def level(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    need(name)
    return name


class TestBounds(box_suite.BoundsContract): ...


class TestEnds(box_suite.EndsContract): ...


class TestHost(box_suite.HostContract): ...


class TestLife(box_suite.LifeContract): ...


class TestTalk(box_suite.TalkContract): ...


class TestWork(box_suite.WorkContract): ...
