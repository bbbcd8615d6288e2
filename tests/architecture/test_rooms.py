"""The architecture page names every room of the kernel, and none that is not there."""

from __future__ import annotations

import re

from tests.architecture.source import ROOT, SRC


def test_every_room_of_the_kernel_is_on_the_page() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    table = page.partition("## Rooms of the kernel")[2].partition("\n## ")[0]
    named = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\|(.*?)\|", table, re.M)))
    there = {path.stem for path in (SRC / "kernel").iterdir() if not path.name.startswith("_")}
    assert sorted(named) == sorted(there)
