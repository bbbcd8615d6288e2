"""How services are reached from the command line: which way is taken, and what is refused before any is."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from shoal.cli import main
from shoal.cli.reaching import json_of
from shoal.errors import ConfigError


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err


def test_json_comes_from_the_line_a_file_or_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").write_text('{"n": 1}')
    monkeypatch.setattr("sys.stdin", io.StringIO('{"n": 2}'))
    assert [json_of('{"n": 0}'), json_of(f"@{tmp_path}/a.json"), json_of("-")] == [{"n": 0}, {"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    ("text", "word"),
    [("{n: 1}", "'{n: 1}' is no JSON"), ("@no/file", "no/file cannot be read: No such file"), ("", "is no JSON")],
)
def test_what_is_no_json(text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        json_of(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("call", "w", "[1]"), "a request is a JSON object"),
        (("call", "w", "{"), "is no JSON"),
        (("call", "w", "{}", "--timeout", "0"), "leaves no time"),
        (("call", "w", "{}", "--timeout", "soon"), "is no duration"),
        (("call", "w", "{}", "--url", "http://x", "--store", "y"), "give one of them"),
        (("control", "w", "pause", "{"), "is no JSON"),
        (("control", "w", "pause", "--url", "ftp://x"), "must begin with http"),
        (("discover", "--type", "boss"), "--type"),
        (("discover", "--store", "none.db"), "there is no store at"),
        (("call", "w", "{}", "--store", "sqlite://:memory:"), "cannot be reached from outside"),
        (("up", "none.toml"), "there is no service file none.toml"),
        (("registry", "serve", "--host", "0.0.0.0"), "without tokens"),
        (("registry", "serve", "--tokens", "none"), "none cannot be read"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_reached(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, *words)
    assert list(tmp_path.iterdir()) == []
