"""Configuration: where a fault comes from is said, and nothing is ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.config import Config, load_config
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
        f"{file}: unknown configuration key 'poll_second'; did you mean 'poll_seconds'?",
        f"{file}: store is not set here: use SHOAL_STORE, or say it where the runtime is made",
        "environment variable SHOAL_DURABILITY: durability must be one of full, normal, not 'none'",
        "threads must be a whole number from 1, not 0",
    )


def test_what_stands_outside_of_the_table_is_not_ignored(tmp_path: Path) -> None:
    file = _file(tmp_path, 'threads = 3\ncolour = "red"\n[shaol]\nthreads = 3\n')
    with pytest.raises(ConfigError) as caught:
        load_config(file=file, environment={})
    assert caught.value.faults == (
        f"{file}: threads stands outside of the table [shoal]: write it below a line [shoal]",
        f"{file}: there is nothing that 'colour' could mean beside the table [shoal]",
        f"{file}: there is nothing that 'shaol' could mean beside the table [shoal]; did you mean 'shoal'?",
    )
    with pytest.raises(ConfigError, match="shoal must be a table"):
        load_config(file=_file(tmp_path, "shoal = 3\n"), environment={})


def test_a_file_that_cannot_be_read_is_not_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config(environment={}) == Config()
    (tmp_path / "shoal.toml").mkdir()
    with pytest.raises(ConfigError, match=r"^shoal.toml: it is a folder"):
        load_config(environment={})
    (tmp_path / "shoal.toml").rmdir()
    (tmp_path / "shoal.toml").symlink_to("nowhere.toml")
    with pytest.raises(ConfigError, match=r"^shoal.toml: it cannot be read: No such file"):
        load_config(environment={})
    (tmp_path / "shoal.toml").unlink()
    (tmp_path / "shoal.toml").write_text("[shoal\n")
    with pytest.raises(ConfigError, match=r"^shoal.toml: it cannot be read: .*line 1"):
        load_config(environment={})


def test_a_variable_that_nobody_knows_is_a_fault_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(environment={"SHOAL_POLL_SECOND": "1", "SHOAL_STOER": "a.db", "SHOAL_QWXZ": "", "shoal_x": "1"})
    assert caught.value.faults == (
        "environment variable SHOAL_POLL_SECOND: there is no such setting; did you mean 'SHOAL_POLL_SECONDS'?",
        "environment variable SHOAL_QWXZ: there is no such setting",
        "environment variable SHOAL_STOER: there is no such setting; did you mean 'SHOAL_STORE'?",
    )


@pytest.mark.parametrize(
    "name",
    [
        *("SHOAL_STORE", "SHOAL_BUS", "SHOAL_ISOLATION", "SHOAL_REQUIRE_LEVELS", "SHOAL_LONG", "SHOAL_AGENT_PATH"),
        *("SHOAL_REGISTRY_URL", "SHOAL_REGISTRY_TOKEN", "SHOAL_REGISTRY_TOKENS"),
        *("SHOAL_TEST_ANYTHING", "SHOAL_EXAMPLE_SECOND"),
    ],
)
def test_variables_of_other_parts_are_known(name: str) -> None:
    assert load_config(environment={name: "x"}) == Config()


def test_a_whole_config_stands_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _file(tmp_path, "threads = 3\n")
    monkeypatch.setenv("SHOAL_THREDS", "4")
    assert load_config(Config(threads=5)).threads == 5
    with pytest.raises(ConfigError, match="'SHOAL_THREADS'"):
        load_config({"threads": 5})
