"""``python -m benchmarks.peers.install FOLDER``: the peers of the group ``bench`` into an environment of their own.

All at once, else one by one: a peer that does not install is a row that says so, not the end of the run.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path


def main() -> None:
    """Make the environments, unless they have what their groups ask for."""
    root = Path(__file__).parent.parent.parent
    folder = Path(sys.argv[1])
    groups = tomllib.loads((root / "pyproject.toml").read_text())["dependency-groups"]
    _install(folder, groups["bench"])
    _install(folder / "crewai", groups["bench-crewai"])


def _install(folder: Path, needs: list[str]) -> None:
    done = folder / ".installed"
    if done.exists() and done.read_text() == "\n".join(needs):
        return
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", str(folder / "bin/python")]
    if subprocess.run([*install, *needs], check=False).returncode:
        for need in needs:
            subprocess.run([*install, need], check=False)
        return
    done.write_text("\n".join(needs))


if __name__ == "__main__":
    main()
