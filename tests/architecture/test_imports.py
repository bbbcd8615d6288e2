"""Who may import whom, beside the contracts in pyproject.toml, and what ``import shoal`` loads."""

from __future__ import annotations

import subprocess
import sys
import tomllib

from tests.architecture.source import ROOT, SRC


def test_import_shoal_loads_the_standard_library_only() -> None:
    code = "import sys; before = set(sys.modules); import shoal; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "shoal" in loaded
    assert loaded - {"shoal"} <= sys.stdlib_module_names, "resolve it lazily in shoal/__init__.py (PEP 562)"
    assert "sqlite3" not in loaded


def test_every_package_and_module_at_the_top_stands_in_the_layers() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = [contract["layers"] for contract in config["contracts"] if contract["type"] == "layers"]
    named = {word for layer in layers for word in layer.replace("|", " ").split()}
    there = {
        f"shoal.{path.stem}"
        for path in SRC.iterdir()
        if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").exists()
    }
    assert there <= named, "a new part of the house needs its place in [tool.importlinter] of pyproject.toml"
    wings = next(contract["modules"] for contract in config["contracts"] if contract["type"] == "independence")
    wing_layer = next(layer for layer in layers if "shoal.store" in layer)
    assert set(wings) == set(wing_layer.replace("|", " ").split())
