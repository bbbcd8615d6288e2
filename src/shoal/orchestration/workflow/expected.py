"""What must be handed in, and how it is checked."""

from __future__ import annotations

import msgspec

__all__ = ["ExpectedOutput"]


class ExpectedOutput(msgspec.Struct, frozen=True, omit_defaults=True):
    """What must be handed in.

    Args:
        files: each must be there; a name without ``/`` matches in any folder.
        tests: ``"all passing"`` (at least one passed, none failed, no error), ``"N passing"``, or empty.
        coverage: ``>``, ``>=``, ``<``, ``<=`` or ``=`` (none means ``>=``), a number, and ``%`` if you like; or empty.

    Raises:
        ValueError: the field, its value and the accepted forms.
    """

    files: tuple[str, ...] = ()
    tests: str = ""
    coverage: str = ""

    @property
    def measured(self) -> bool:
        """Whether code must be run to check it."""
        return bool(self.tests or self.coverage)
