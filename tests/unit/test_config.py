"""Configuration: where a fault comes from is said, and nothing is ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.config import load_config
from shoal.errors import ConfigError


def _file(folder: Path, text: str) -> Path:
    path = folder / "shoal.toml"
    path.write_text(text)
    return path


def test_the_caller_wins_over_variables_over_the_file(tmp_path: Path) -> None:
    file = _file(tmp_path, "[shoal]\nthreads = 3\npoll_seconds = 2\nlease_seconds = 20\n")
    config = load_config({"threads": 5}, file=file, environment={"SHOAL_THREADS": "4", "SHOAL_POLL_SECONDS": "3"})
    assert (config.threads, config.poll_seconds, config.lease_seconds) == (5, 3, 20)


def test_every_fault_says_where_it_stands(tmp_path: Path) -> None:
    file = _file(tmp_path, '[shoal]\npoll_second = 1\nstore = "a.db"\n')
    with pytest.raises(ConfigError) as caught:
        load_config({"threads": 0}, file=file, environment={"SHOAL_DURABILITY": "none"})
    assert caught.value.faults == (
        "shoal.toml: unknown configuration key 'poll_second'; did you mean 'poll_seconds'?",
        "shoal.toml: store is not set here: use SHOAL_STORE, or say it where the runtime is made",
        "environment, SHOAL_…: durability must be one of full, normal, not 'none'",
        "threads must be a whole number from 1, not 0",
    )
