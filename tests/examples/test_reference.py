"""The reference says what the code says."""

from __future__ import annotations

import re

import pytest

from shoal.kernel.event import SEVERITY
from tests.examples.reference_tables import REFERENCE, render


@pytest.mark.parametrize("name", ["boxes", "config", "errors", "patterns", "runtime", "services", "team-file"])
def test_the_tables_are_those_of_the_code(name: str) -> None:
    text = (REFERENCE / f"{name}.md").read_text()
    assert text == render(text), "renew it: python -m tests.examples.reference_tables"


def test_every_event_is_explained_with_its_severity() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| \S", (REFERENCE / "events.md").read_text(), re.M)
    assert dict(rows) == {name: str(severity) for name, severity in SEVERITY.items()}
    assert len(rows) == len(SEVERITY)
