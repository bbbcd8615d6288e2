"""Bad things done to nodes and servers at random moments: afterwards nothing is lost, doubled, disordered or shared.

Each round is one bad thing, in the midst of work: a few, and under SHOAL_LONG=full as many as each test says.
``CHAOS_SEED`` gives the choices of an earlier run again; what they meet is a matter of time.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.lifecycle.chaos.cluster import LONG_LEASE_SECONDS
from tests.lifecycle.chaos.harm import Harm, cut_bus, cut_store, drain, freeze, kill, restart_nats, restart_postgres

pytestmark = pytest.mark.long
Suffer = Callable[..., None]
Rounds = Callable[[int, int], int]
ALL: list[Harm] = [kill, drain, freeze, restart_postgres, restart_nats, cut_store, cut_bus]
APART = (-300.0, 0.0, 300.0)


def test_nodes_whose_clocks_are_minutes_apart(suffer: Suffer, rounds: Rounds) -> None:
    suffer(rounds(42, 3), kill, kill, drain, skews=APART)


def test_all_of_it(suffer: Suffer, rounds: Rounds) -> None:
    suffer(rounds(105, len(ALL)), *ALL, lease=LONG_LEASE_SECONDS, wires="proxied")


if os.environ.get("SHOAL_LONG") == "full":

    def test_kills_and_restarts(suffer: Suffer) -> None:
        suffer(100, kill, kill, restart_postgres, restart_nats)

    @pytest.mark.parametrize("harm", ALL)
    def test_one_thing_again_and_again(suffer: Suffer, harm: Harm) -> None:
        suffer(30, harm, lease=LONG_LEASE_SECONDS, wires="proxied")
