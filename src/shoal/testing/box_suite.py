"""The conformance suite of an isolation level. Every level passes it, and a third party's launcher can.

Make the fixture ``level`` in your test file, and a class for each contract::

    from shoal.testing import box_suite

    @pytest.fixture
    def level():
        return "bubblewrap"

    class TestBounds(box_suite.BoundsContract): ...
    class TestEnds(box_suite.EndsContract): ...
    class TestHost(box_suite.HostContract): ...
    class TestLife(box_suite.LifeContract): ...
    class TestTalk(box_suite.TalkContract): ...
    class TestWork(box_suite.WorkContract): ...
"""

from __future__ import annotations

from shoal.testing.box_bounds import BoundsContract
from shoal.testing.box_ends import EndsContract
from shoal.testing.box_host import HostContract
from shoal.testing.box_life import LifeContract
from shoal.testing.box_talk import TalkContract
from shoal.testing.box_work import WorkContract

__all__ = ["BoundsContract", "EndsContract", "HostContract", "LifeContract", "TalkContract", "WorkContract"]
