"""How words of the command line are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shoal.cli.options import input_of, moment, seconds, url_of
from shoal.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [("90", 90), ("250ms", 0.25), ("1.5s", 1.5), ("10m", 600), ("2h", 7200), ("7d", 604_800), ("0", 0)],
)
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "-1", "1w", "soon", "1 h", "nan", "1e9"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no duration"):
        seconds(text)


def test_moments() -> None:
    assert moment("2026-01-31T12:00:00+02:00") == datetime(2026, 1, 31, 10, tzinfo=UTC)
    assert moment("2026-01-31T12:00") == datetime(2026, 1, 31, 12).astimezone()
    assert abs(datetime.now(UTC) - timedelta(hours=2) - moment("2h")) < timedelta(minutes=1)
    for text in ("tomorrow", "2026-13-01", ""):
        with pytest.raises(ConfigError, match="is no time"):
            moment(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, null]}', {"a": [1, None]}),
        ("{}", {}),
        ("3", {"message": "3"}),
        ("[1]", {"message": "[1]"}),
        ('"x"', {"message": '"x"'}),
        ("hello world", {"message": "hello world"}),
        ("", {"message": ""}),
        ('{"a": 1', {"message": '{"a": 1'}),
    ],
)
def test_inputs(text: str, value: object) -> None:
    assert input_of(text) == value


def test_what_looks_like_json_and_is_none_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    input_of('{"a": 1')
    assert "is no JSON" in capsys.readouterr().err
    input_of("plain")
    assert capsys.readouterr().err == ""


def test_a_store_is_a_url_or_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOAL_STORE", raising=False)
    assert url_of(None) == "sqlite:///./shoal.db"
    assert url_of("/a/b.db") == "sqlite:////a/b.db"
    assert url_of("sqlite:///b.db") == "sqlite:///b.db"
    monkeypatch.setenv("SHOAL_STORE", "c.db")
    assert url_of(None) == "sqlite:///c.db"
