"""Every level that runs here keeps what every level must.

A machine takes seconds to boot: outside of the long rounds it is held to a part of it.
"""

from __future__ import annotations

import os

import pytest

from shoal.testing import box_suite
from tests.support.levels import need

pytestmark = pytest.mark.spec("B53")


QUICK = ("process", "bubblewrap", "gvisor")
IN_A_MACHINE = (
    "test_a_box_asks_another",
    "test_call_backs_are_answered",
    "test_death_in_a_handler_is_told",
    "test_exit_codes",
    "test_files",
    "test_nothing_printed_is_a_frame",
    "test_the_environment",
    "test_what_was_taken_before_a_stop_is_handled",
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose the levels of each test."""
    whole = os.environ.get("SHOAL_LONG") == "full" or metafunc.function.__name__ in IN_A_MACHINE
    metafunc.parametrize("level", (*QUICK, "microvm") if whole else QUICK, indirect=True)


@pytest.fixture
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
