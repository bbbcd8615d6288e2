"""What ``import shoal.orchestration`` loads, and what it has."""

from __future__ import annotations

import subprocess
import sys

import pytest

import shoal.orchestration as orchestration


@pytest.mark.spec("O50")
def test_it_loads_no_model_library_and_none_of_the_patterns_before_they_are_used() -> None:
    code = (
        "import sys; before = set(sys.modules); import shoal.orchestration; print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert "shoal.orchestration" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {"pydantic_ai", "pydantic", "msgspec", "apsw"}
    code = code.replace("import shoal.orchestration", "from shoal.orchestration import *")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    roots = {name.partition(".")[0] for name in done.stdout.split()}
    assert not roots & {"pydantic_ai", "pydantic", "apsw", "typer"}


def test_every_name_is_there() -> None:
    for name in orchestration.__all__:
        assert getattr(orchestration, name) is not None
    assert dir(orchestration) == sorted(orchestration.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Pipelin'"):
        orchestration.Pipelin  # noqa: B018
