"""Who may talk to whom between the boxes of one runtime."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import msgspec

from shoal.errors import BoxSpecError

__all__ = ["BoxPolicy", "check_policy", "event_matches"]

_PATTERN = re.compile(r"[A-Za-z0-9._*?!\[\]-]{1,100}")


class BoxPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What is listed is allowed, everything else is refused. Answers to allowed requests pass.

    Args:
        allow: (sender, target) pairs of names or patterns (``team-*``); ``host`` is the host.
        events: (publisher, event) pairs of names or patterns.
    """

    allow: tuple[tuple[str, str], ...] | list[tuple[str, str]] = ()
    events: tuple[tuple[str, str], ...] | list[tuple[str, str]] = ()

    def may_send(self, sender: str, target: str) -> bool:
        """Tell whether *sender* may ask *target*."""
        return _listed(self.allow, sender, target)

    def may_publish(self, sender: str, event: str) -> bool:
        """Tell whether *sender* may publish *event*."""
        return _listed(self.events, sender, event)


def _listed(pairs: tuple[tuple[str, str], ...] | list[tuple[str, str]], first: str, second: str) -> bool:
    return any(fnmatchcase(first, left) and fnmatchcase(second, right) for left, right in pairs)


def check_policy(policy: object) -> BoxPolicy | None:
    """Return *policy*. Raises BoxSpecError naming every pair that is not two names or patterns."""
    if policy is None:
        return None
    if not isinstance(policy, BoxPolicy):
        raise BoxSpecError(f"policy must be a BoxPolicy or None, not {type(policy).__name__}")
    shapes = [
        f"policy.{name} must be a tuple of pairs, not {getattr(policy, name)!r:.80}"
        for name in ("allow", "events")
        if not isinstance(getattr(policy, name), (tuple, list))
    ]
    if shapes:
        raise BoxSpecError(shapes)
    faults = [
        f"policy.{name}[{place}] must be two names or patterns, not {pair!r:.80}"
        for name, pairs, second in (
            ("allow", policy.allow, _PATTERN),
            ("events", policy.events, re.compile(".{1,200}")),
        )
        for place, pair in enumerate(pairs)
        if not _good(pair, second)
    ]
    if faults:
        raise BoxSpecError(faults)
    return policy


def _good(pair: object, second: re.Pattern[str]) -> bool:
    match pair:
        case (str(left), str(right)):
            return _PATTERN.fullmatch(left) is not None and second.fullmatch(right) is not None
        case _:
            return False


def event_matches(pattern: str, event: str) -> bool:
    """Tell whether a subscription takes *event*: by its name, or ``prefix*`` by its beginning."""
    return event.startswith(pattern[:-1]) if pattern.endswith("*") else event == pattern
