"""What must be handed in, and how it is checked."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from shoal.orchestration.workflow.paths import check_path

__all__ = ["Bound", "ExpectedOutput"]

TESTS_FORMS = "'all passing', 'N passing' such as '14 passing', or empty"
COVERAGE_FORMS = "a number from 0 to 100 such as '>80%', '>= 80', '<5%' or '=100%', or empty"

_PASSING = re.compile(r"(all|[0-9]{1,9}) passing", re.IGNORECASE)
_BOUND = re.compile(r"(>=|<=|>|<|=)?\s*([0-9]{1,3}(?:\.[0-9]{1,9})?)\s*%?")


class Bound(NamedTuple):
    """A number, and how another one must compare with it: ``>``, ``>=``, ``<``, ``<=`` or ``=``."""

    sign: str
    number: Decimal

    def holds(self, value: Decimal) -> bool:
        """Tell whether *value* is within."""
        match self.sign:
            case ">":
                return value > self.number
            case ">=":
                return value >= self.number
            case "<":
                return value < self.number
            case "<=":
                return value <= self.number
            case _:
                return value == self.number


class ExpectedOutput(msgspec.Struct, frozen=True, omit_defaults=True):
    """What must be handed in.

    Args:
        files: each must be there; a name without ``/`` matches in any folder.
        tests: ``"all passing"`` (at least one passed, none failed, no error), ``"N passing"`` (at least N passed), or
            empty.
        coverage: ``>``, ``>=``, ``<``, ``<=`` or ``=`` (none means ``>=``), a number, and ``%`` if you like; or empty.

    Raises:
        ValueError: the field, its value and the accepted forms.
    """

    files: tuple[str, ...] = ()
    tests: str = ""
    coverage: str = ""

    def __post_init__(self) -> None:
        given: Any = self.files
        if not isinstance(given, (list, tuple)):
            raise ValueError(f"files={given!r:.80}: it must be a list of paths such as 'auth.py' or 'src/auth.py'")
        for path in given:
            if not isinstance(path, str):
                raise ValueError(f"files={given!r:.80}: each must be a path such as 'auth.py', not {path!r:.80}")
            try:
                check_path(path)
            except ValueError as error:
                raise ValueError(f"files: {error}") from None
        msgspec.structs.force_setattr(self, "files", tuple(given))
        if not isinstance(self.tests, str) or (self.tests.strip() and not _PASSING.fullmatch(self.tests.strip())):
            raise ValueError(f"tests={self.tests!r:.80}: it must be {TESTS_FORMS}")
        if not isinstance(self.coverage, str) or (self.coverage.strip() and self.bound is None):
            raise ValueError(f"coverage={self.coverage!r:.80}: it must be {COVERAGE_FORMS}")

    @property
    def measured(self) -> bool:
        """Whether code must be run to check it."""
        return bool(self.tests.strip() or self.coverage.strip())

    @property
    def passing(self) -> int | None:
        """How many tests must pass; 0: all; None: nothing is said of tests."""
        found = _PASSING.fullmatch(self.tests.strip())
        if found is None:
            return None
        return 0 if found[1].casefold() == "all" else int(found[1])

    @property
    def bound(self) -> Bound | None:
        """What the coverage must be; None: nothing is said of it."""
        found = _BOUND.fullmatch(self.coverage.strip())
        if found is None or Decimal(found[2]) > 100:
            return None
        return Bound(found[1] or ">=", Decimal(found[2]))
