"""Paths that may be handed in, and those that lead outside or are too much."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.orchestration.workflow.paths import FILE_BYTES, MOST_FILES, check_files, check_path


@pytest.mark.parametrize("path", ["a.py", "src/pkg/mod.py", "a b/ö.txt", ".github/x.yml", "...", "a..b/c", "-x"])
def test_what_is_a_path(path: str) -> None:
    check_path(path)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "1 to 240 characters"),
        ("x" * 241, "1 to 240 characters"),
        ("/etc/passwd", "is absolute"),
        ("C:/x", "is absolute"),
        ("../x", "has '..'"),
        ("a/../../x", "has '..'"),
        ("a/..", "has '..'"),
        ("a\\..\\x", "has a backslash"),
        ("a\0b", "cannot be printed"),
        ("a\nb", "cannot be printed"),
        ("a\u202eyp.b", "cannot be printed"),
        ("\ud800", "cannot be printed"),
        ("a//b", "empty part"),
        ("a/", "empty part"),
        ("./a", "empty part or '.'"),
        ("ö" * 200, "over 255 bytes"),
    ],
)
def test_what_is_none(path: str, why: str) -> None:
    with pytest.raises(ValueError, match="the path") as raised:
        check_path(path)
    assert why in str(raised.value)


@given(st.text(max_size=300))
def test_whatever_is_taken_stays_inside(path: str) -> None:
    try:
        check_path(path)
    except ValueError:
        return
    place = PurePosixPath("/box") / path
    assert place.is_relative_to("/box") and ".." not in place.parts and str(place) == f"/box/{path}"


def test_files_together() -> None:
    check_files({f"{number}.py": "" for number in range(MOST_FILES)})
    check_files({"a.py": "x" * FILE_BYTES, "b.py": "ö" * (FILE_BYTES // 2)})
    refused: list[tuple[dict[str, str], str]] = [
        ({f"{number}.py": "" for number in range(MOST_FILES + 1)}, "201 files, at most 200"),
        ({"a.py": "x" * (FILE_BYTES + 1)}, "'a.py' has 1048577 bytes"),
        ({"a.py": "ö" * (FILE_BYTES // 2 + 1)}, "'a.py' has 1048578 bytes"),
        ({f"{number}.py": "x" * FILE_BYTES for number in range(9)}, "with '8.py' the files have"),
        ({"a": "", "a/b": ""}, "'a/b' lies in 'a', which is a file"),
        ({"a.py": "\ud800"}, "'a.py' is no text"),
        ({"../a.py": ""}, "'../a.py' has '..'"),
    ]
    for files, why in refused:
        with pytest.raises(ValueError) as raised:
            check_files(files)
        assert why in str(raised.value)
