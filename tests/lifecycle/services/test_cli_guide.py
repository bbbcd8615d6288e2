"""The page on running services, walked from top to bottom; and the example, as its first lines say."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.programs import ROOT
from tests.support.command import GUARD_SECONDS, environment, refused, said, shoal
from tests.support.upping import up

PAGE = ROOT / "docs" / "how-to" / "run-services.md"
EXAMPLE = ROOT / "examples" / "services"
BLOCK = re.compile(r"^```(?P<kind>[a-z]+)\n(?P<body>.*?)^```$(?:\n\s*^```text\n(?P<printed>.*?)^```$)?", re.M | re.S)


def typed(commands: str, folder: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-e", "-c", commands],
        cwd=folder,
        env=environment() | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_page_works_from_top_to_bottom(tmp_path: Path) -> None:
    blocks = list(BLOCK.finditer(PAGE.read_text()))
    files = {match["kind"]: match["body"] for match in blocks}
    (tmp_path / "workers.py").write_text(files["python"])
    (tmp_path / "services.toml").write_text(files["toml"])
    shells = [match for match in blocks if match["kind"] == "shell"]
    assert len(shells) == 2
    with up(tmp_path) as running:
        running.until("^ready: 4 services;")
        for match in shells:
            assert typed(match["body"], tmp_path) == match["printed"]
        assert running.end(signal.SIGTERM) == 0


@pytest.mark.spec("S50")
def test_the_example_sells_and_knows_its_stock_after_a_kill(tmp_path: Path) -> None:
    for name in ("services.toml", "shop.py"):
        shutil.copy(EXAMPLE / name, tmp_path)
    order = ("call", "orders", '{"item": "pen", "number": 2}', "--store", "shop.db")
    with up(tmp_path) as running:
        running.until("^ready: 4 services;")
        assert said(shoal(tmp_path, *order)) == {"item": "pen", "number": 2, "total": 3.0, "left": 8}
        os.kill(running.pid("stock_0"), signal.SIGKILL)
        running.until("^stock_0  runs again")
        assert said(shoal(tmp_path, *order))["left"] == 6
        refused(shoal(tmp_path, "call", "orders", '{"item": "pin"}', "--store", "shop.db"), 4, "NOT_FOUND", '"book"')
        assert len(said(shoal(tmp_path, "discover", "--url", running.url, "--json"))) == 4
        assert running.end(signal.SIGINT) == 0
