"""What people see of nodes: the names that they gave them."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.command import said, shoal
from tests.support.nodes import Fleet


def test_discover_shows_nodes_by_name(store_url: str, tmp_path: Path) -> None:
    variables = {"SHOAL_STORE": store_url, **{key: os.environ[key] for key in ("SHOAL_BUS",) if key in os.environ}}

    def shown(*words: str) -> dict[str, str]:
        done = shoal(tmp_path, "discover", *words, variables=variables)
        assert done.returncode == 0, done.stderr
        return {row.split()[0]: row.split()[-1] for row in done.stdout.splitlines()[1:]}

    fleet = Fleet(store_url, tmp_path)
    with fleet.node("left", service=True), fleet.node("right", service=True):
        assert shown() == shown("--all") == {"greeter-left": "left", "greeter-right": "right"}
        nodes = said(shoal(tmp_path, "nodes", "--json", variables=variables))
        found = said(shoal(tmp_path, "discover", "--json", variables=variables))
        assert {each["node"] for each in found} == {node["id"] for node in nodes}, "programs get the id"
