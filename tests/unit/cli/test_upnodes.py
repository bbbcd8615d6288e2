"""How ``shoal up --nodes`` deals the instances of a file out to its nodes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from shoal.cli.upnodes import check_number, part_of
from shoal.errors import ConfigError
from shoal.servicefile import ServiceFile, load_services

CODE = """
from shoal.services import ServiceAgent

class Worker(ServiceAgent):
    def info(self):
        return {"name": "worker", "capabilities": ["work"]}
"""


@pytest.fixture
def file(tmp_path: Path) -> ServiceFile:
    """A file with 5, 1, 1 and 3 instances, and a registry."""
    (tmp_path / "workers.py").write_text(CODE)
    tables = "".join(
        f'[agents.{name}]\nclass = "workers.py:Worker"\ncount = {count}\n'
        for name, count in (("many", 5), ("one", 1), ("other", 1), ("some", 3))
    )
    path = tmp_path / "services.toml"
    path.write_text(f"[registry]\nport = 0\n{tables}")
    return load_services(path)


@pytest.mark.parametrize("nodes", [1, 2, 3, 10])
def test_each_instance_is_on_one_node_and_no_node_has_two_more_than_another(file: ServiceFile, nodes: int) -> None:
    parts = [part_of(file, f"{place}/{nodes}") for place in range(1, nodes + 1)]
    spread: Counter[str] = Counter()
    for part in parts:
        spread.update({table.name: table.count for table in part.agents})
    assert spread == {"many": 5, "one": 1, "other": 1, "some": 3}
    sizes = [sum(table.count for table in part.agents) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert [part.registry is not None for part in parts] == [True] + [False] * (nodes - 1)


@pytest.mark.parametrize("part", ["", "2", "0/2", "3/2", "a/b", "1/2/3"])
def test_what_is_no_part_is_refused(file: ServiceFile, part: str) -> None:
    with pytest.raises(ConfigError, match="--part must be one of N"):
        part_of(file, part)


@pytest.mark.parametrize("number", [-1, 0, 11])
def test_every_node_has_something_to_do(file: ServiceFile, number: int) -> None:
    check_number(10, file)
    with pytest.raises(ConfigError, match="from 1 to 10 here"):
        check_number(number, file)
