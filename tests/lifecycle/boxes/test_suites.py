"""Every level that runs here keeps what every level must.

The contracts are public and know no acceptance lines; those stand here. A machine takes seconds to boot: outside of the
long rounds it is held to a part of it.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from shoal.testing import box_suite
from shoal.testing.box_ends import EXITS
from tests.support.levels import chosen, need

pytestmark = pytest.mark.spec("B53")


QUICK = ("process", "bubblewrap", "gvisor")
IN_A_MACHINE = (
    "test_a_box_asks_another",
    "test_files",
    "test_nothing_printed_is_a_frame",
    "test_what_was_taken_before_a_stop_is_handled",
)
EXITS_IN_A_MACHINE = ("segfault",)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose the levels of each test."""
    if "how" in metafunc.fixturenames:
        return
    levels = (*QUICK, "microvm") if metafunc.function.__name__ in IN_A_MACHINE else QUICK
    metafunc.parametrize("level", chosen(*levels, long=() if "microvm" in levels else ("microvm",)), indirect=True)


def exits() -> list[Any]:
    """Return the levels with the ends that a program has there: in a machine each one costs a boot."""
    found = [pytest.param(level, how, code) for level in QUICK for how, code in EXITS]
    for how, code in EXITS:
        if how in EXITS_IN_A_MACHINE:
            found.append(pytest.param("microvm", how, code))
        elif os.environ.get("SHOAL_LONG") == "full":
            found.append(pytest.param("microvm", how, code, marks=pytest.mark.long))
    return found


@pytest.fixture
def level(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    need(name)
    return name


class TestBounds(box_suite.BoundsContract):
    @pytest.mark.spec("B5", "B23")
    def test_five_refusals_have_five_classes(self) -> None:
        super().test_five_refusals_have_five_classes()

    @pytest.mark.spec("B8")
    def test_nothing_printed_is_a_frame(self) -> None:
        super().test_nothing_printed_is_a_frame()

    @pytest.mark.long
    @pytest.mark.spec("B9")
    def test_death_in_a_handler_is_told(self) -> None:
        super().test_death_in_a_handler_is_told()

    @pytest.mark.spec("B10")
    def test_an_answer_that_is_not_json(self) -> None:
        super().test_an_answer_that_is_not_json()

    @pytest.mark.spec("B17")
    def test_a_time_out_is_the_senders(self) -> None:
        super().test_a_time_out_is_the_senders()


class TestEnds(box_suite.EndsContract):
    @pytest.mark.long
    @pytest.mark.spec("B15")
    def test_events_before_an_exit_are_delivered(self) -> None:
        super().test_events_before_an_exit_are_delivered()

    @pytest.mark.spec("B19")
    def test_wait_all(self) -> None:
        super().test_wait_all()

    @pytest.mark.spec("B27")
    @pytest.mark.parametrize(("level", "how", "code"), exits(), indirect=["level"])
    def test_exit_codes(self, how: str, code: int) -> None:
        super().test_exit_codes(how, code)

    @pytest.mark.spec("B43")
    def test_stopping(self) -> None:
        super().test_stopping()

    @pytest.mark.spec("B43")
    def test_what_was_taken_before_a_stop_is_handled(self) -> None:
        super().test_what_was_taken_before_a_stop_is_handled()

    @pytest.mark.spec("B11")
    def test_stop_in_a_handler_answers_first_and_tells_the_others(self) -> None:
        super().test_stop_in_a_handler_answers_first_and_tells_the_others()


class TestHost(box_suite.HostContract):
    @pytest.mark.spec("B34")
    def test_the_host_takes_part(self) -> None:
        super().test_the_host_takes_part()

    @pytest.mark.spec("B5")
    def test_the_host_is_refused_with_the_same_classes(self) -> None:
        super().test_the_host_is_refused_with_the_same_classes()

    @pytest.mark.spec("B33")
    def test_the_audit_of_ten_messages(self) -> None:
        super().test_the_audit_of_ten_messages()


class TestLife(box_suite.LifeContract):
    @pytest.mark.spec("B12")
    def test_one_name_is_one_box(self) -> None:
        super().test_one_name_is_one_box()

    @pytest.mark.long
    @pytest.mark.spec("B14")
    def test_wait_and_run_again(self) -> None:
        super().test_wait_and_run_again()

    @pytest.mark.spec("B18")
    def test_the_task_runs_before_the_handlers(self) -> None:
        super().test_the_task_runs_before_the_handlers()

    @pytest.mark.long
    @pytest.mark.spec("B20")
    def test_eight_starts_at_once(self) -> None:
        super().test_eight_starts_at_once()

    @pytest.mark.long
    @pytest.mark.spec("B44")
    def test_cancelling_leaves_nothing_behind(self) -> None:
        super().test_cancelling_leaves_nothing_behind()

    @pytest.mark.spec("B50")
    def test_two_runtimes_do_not_see_each_other(self) -> None:
        super().test_two_runtimes_do_not_see_each_other()


class TestTalk(box_suite.TalkContract):
    @pytest.mark.spec("B2")
    def test_a_box_asks_another(self) -> None:
        super().test_a_box_asks_another()

    @pytest.mark.spec("B24")
    def test_both_names_are_one_module(self) -> None:
        super().test_both_names_are_one_module()

    @pytest.mark.spec("B4")
    def test_the_first_handler_that_does_not_raise_answers(self) -> None:
        super().test_the_first_handler_that_does_not_raise_answers()

    @pytest.mark.spec("B6")
    def test_what_arrives_during_a_wait_is_delivered_once_and_in_order(self) -> None:
        super().test_what_arrives_during_a_wait_is_delivered_once_and_in_order()

    @pytest.mark.spec("B7")
    def test_call_backs_are_answered(self) -> None:
        super().test_call_backs_are_answered()

    @pytest.mark.long
    @pytest.mark.spec("B7")
    def test_two_tasks_that_call_each_other(self) -> None:
        super().test_two_tasks_that_call_each_other()

    @pytest.mark.long
    @pytest.mark.spec("B26")
    def test_what_two_boxes_print_is_relayed_in_causal_order(self) -> None:
        super().test_what_two_boxes_print_is_relayed_in_causal_order()

    @pytest.mark.long
    @pytest.mark.spec("B52")
    def test_answers_never_cross(self) -> None:
        super().test_answers_never_cross()

    @pytest.mark.spec("B3", "B24")
    def test_the_documents_own_example_with_a_closure(self) -> None:
        super().test_the_documents_own_example_with_a_closure()


class TestWork(box_suite.WorkContract):
    @pytest.mark.long
    @pytest.mark.spec("B13")
    def test_large_closures(self) -> None:
        super().test_large_closures()

    @pytest.mark.long
    @pytest.mark.spec("B21")
    def test_commands_beside_a_program_that_computes(self) -> None:
        super().test_commands_beside_a_program_that_computes()

    @pytest.mark.spec("B22")
    def test_scripts(self) -> None:
        super().test_scripts()

    @pytest.mark.spec("B25")
    def test_handlers_of_a_module_that_only_the_host_has(self) -> None:
        super().test_handlers_of_a_module_that_only_the_host_has()

    @pytest.mark.spec("B26")
    def test_output_is_kept_to_the_last_line(self) -> None:
        super().test_output_is_kept_to_the_last_line()

    @pytest.mark.long
    @pytest.mark.spec("B28")
    def test_wait_returns_after_all_output(self) -> None:
        super().test_wait_returns_after_all_output()

    @pytest.mark.spec("B31")
    def test_the_environment(self) -> None:
        super().test_the_environment()

    @pytest.mark.long
    @pytest.mark.spec("B35")
    def test_files(self) -> None:
        super().test_files()
