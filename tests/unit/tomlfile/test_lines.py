"""Lines of keys in TOML: what the parser does not tell."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.tomlfile.lines import Lines

TEXT = '''\
# [agents.No]
[team]
name = "x # [y]"   # a comment [z]
"quoted key" = 1
a.b = { c = "]" }

[agents.Lead]
role = """
[agents.Fake]
model = "no"
"""
tools = [
  "model = 1",  # ]
  "]",
]
model = 'it''s' # not TOML, but the line is not looked at

[ agents . "Dev Two" ]
notes = \'\'\'
x = 1 \'\'\'
model = "m"
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("team",), 2),
        (("team", "name"), 3),
        (("team", "quoted key"), 4),
        (("team", "a", "b"), 5),
        (("team", "a", "b", "c"), 5),
        (("team", "nothing"), 2),
        (("agents",), 7),
        (("agents", "Lead", "role"), 8),
        (("agents", "Lead", "tools"), 12),
        (("agents", "Lead", "model"), 16),
        (("agents", "Fake"), 7),
        (("agents", "Dev Two", "model"), 21),
        (("nothing",), None),
        ((), None),
    ],
)
def test_the_line_of_a_key_else_of_what_is_around_it(path: tuple[str, ...], line: int | None) -> None:
    assert Lines(TEXT).of(path) == line


_KEYS = st.text("abcXYZ09_-", min_size=1, max_size=6)
_LEAVES = st.one_of(
    st.integers(0, 9), st.sampled_from(['"x"', '"""a\n[b]\nc = 1"""', "[\n1,\n]", "'#'", "{ k = '[' }"])
)


@given(st.dictionaries(_KEYS, st.dictionaries(_KEYS, _LEAVES, max_size=4), max_size=4))
def test_every_key_of_a_file_has_the_line_on_which_it_stands(tables: dict[str, dict[str, Any]]) -> None:
    lines: list[str] = []
    places: dict[tuple[str, ...], int] = {}
    for table, entries in tables.items():
        places[table,] = sum(line.count("\n") + 1 for line in lines) + 1
        lines.append(f"[{table}]")
        for key, value in entries.items():
            places[table, key] = sum(line.count("\n") + 1 for line in lines) + 1
            lines.append(f"{key} = {value}")
    text = "\n".join(lines)
    tomllib.loads(text)
    found = Lines(text)
    assert {path: found.of(path) for path in places} == places


@given(st.text("[]{}=\"'#\\\nab.", max_size=200))
def test_no_text_is_too_odd(text: str) -> None:
    Lines(text).of(("a", "b"))
