"""A spec whose fields are of the wrong kind is refused in words: `network="no"` would be true."""

from __future__ import annotations

import re
from typing import Any

import pytest

from shoal.boxes import BoxLimits, BoxPolicy, BoxRuntime, BoxSpec, Mount
from shoal.errors import BoxSpecError

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"network": "no"}, "spec.network must be True or False, not 'no'"),
    ({"interleave": 1}, "spec.interleave must be True or False"),
    ({"collect": "*.out"}, "spec.collect must be a tuple, as in ('*.out',), not '*.out'"),
    ({"collect": 5}, "spec.collect must be a tuple"),
    ({"mounts": Mount("/tmp", "/data")}, "spec.mounts must be a tuple, as in (Mount('data', '/data'),)"),
    ({"mounts": (Mount("/tmp", 5),)}, "spec.mounts[0] must be of two paths"),  # type: ignore[arg-type]
    ({"mounts": (Mount("/tmp", "/x", "no"),)}, "spec.mounts[0].writable must be True or False"),  # type: ignore[arg-type]
    ({"env": ["A"]}, "spec.env must be a mapping, not ['A']"),
    ({"env": {"A": "\ud800"}}, "spec.env: 'A' must be"),
    ({"files": ["a"]}, "spec.files must be a mapping"),
    ({"rootfs": 5}, "spec.rootfs must be a path, not 5"),
    ({"image": 5}, "spec.image must be a path, not 5"),
    ({"python": 5}, "spec.python must be a path in the box as str, not 5"),
    ({"limits": BoxLimits(best_effort="no")}, "limits.best_effort must be True or False"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("fields", "text"), WRONG)
def test_a_field_of_the_wrong_kind_is_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(BoxSpecError, match=re.escape(text)):
        BoxRuntime("process", spec=BoxSpec(**fields))


@pytest.mark.parametrize("wrong", [None, "ab", 5])
def test_a_policy_of_no_pairs_is_refused(wrong: Any) -> None:
    with pytest.raises(BoxSpecError, match=r"policy\.allow must be a tuple of pairs"):
        BoxRuntime("process", policy=BoxPolicy(allow=wrong))
