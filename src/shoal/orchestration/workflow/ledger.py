"""The issues of a run: opened by reviewers, closed by their ids and by nothing else."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec

from shoal.orchestration.workflow.review import Issue, Review, Severity

__all__ = ["Ledger", "same_title"]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,19}")
"""What a reviewer may call an issue by; it stands in prompts, so it must be no sentence."""


def same_title(title: str) -> str:
    """Return what two titles of one issue have in common: their words, in whatever case and spacing."""
    return " ".join(title.split()).casefold()


class _Shown:
    """The issues that a reviewer knows of."""

    def __init__(self, issues: Iterable[Issue]) -> None:
        self.ids: set[str] = set()
        self.titles: dict[str, str] = {}
        for issue in issues:
            self.add(issue)

    def add(self, issue: Issue) -> None:
        self.ids.add(issue.id)
        self.titles[same_title(issue.title)] = issue.id


class Ledger:
    """All issues, in the order of finding."""

    def __init__(self) -> None:
        self._issues: dict[str, Issue] = {}
        self._ids: dict[str, str] = {}
        self._reserved: set[str] = set()
        self._number = 0

    @property
    def issues(self) -> tuple[Issue, ...]:
        """All of them."""
        return tuple(self._issues.values())

    @property
    def open(self) -> tuple[Issue, ...]:
        """Those that are open."""
        return tuple(issue for issue in self._issues.values() if issue.status == "open")

    def blocking(self, severities: Collection[Severity]) -> tuple[Issue, ...]:
        """Return the open ones of these severities."""
        return tuple(issue for issue in self.open if issue.severity in severities)

    def reserve(self, ids: Collection[str]) -> None:
        """Keep ids for those who had them in an earlier life of the run: nobody else gets them."""
        self._reserved.update(each.casefold() for each in ids)

    def take(
        self,
        review: Review,
        *,
        message_id: str,
        role: str,
        seen: Collection[str] | None = None,
        ids: Sequence[str] | None = None,
    ) -> list[str]:
        """Take a review in: close what it resolves, open what it names. What it names stays open, whatever it resolves.

        An issue is a known one by its id, else by its title; its first severity and title stand. An id that the review
        also resolves, with another title, is a new issue under an id of somebody else.

        Args:
            review: what was said.
            message_id: of the message that was answered.
            role: of the reviewer.
            seen: ids of the issues that the reviewer was shown; what it calls by those of others is not theirs. None: all.
            ids: by which its issues are on record, of a review that is taken in again.

        Returns:
            Warnings: ids that are not known, waived issues that were named again.
        """
        mine = _Shown(issue for issue in self.issues if seen is None or issue.id in seen)
        warnings = self._close(review.resolved, mine, message_id)
        resolved = {each.strip().casefold() for each in review.resolved}
        asked = {issue.id.strip().casefold() for issue in review.issues}
        for place, issue in enumerate(review.issues):
            known = self._known(issue, mine, resolved, warnings)
            if known is None:
                issue_id = self._new_id(issue, asked) if ids is None else ids[place]
                self._open(issue, issue_id, message_id=message_id, role=role)
                mine.add(self._issues[issue_id])
            elif known.status == "waived":
                warnings.append(f"{known.id} is named again; it stays waived, as decided in {known.conflict_id}")
            else:
                if issue.id.strip().casefold() in resolved:
                    warnings.append(f"{known.id} is both resolved and named: it stays open")
                self._set(known.id, status="open", closed_in="")
        return warnings

    def waive(self, issue_id: str, conflict_id: str) -> None:
        """Say that the conflict *conflict_id* has overruled an issue. Raises ValueError when there is none of this id."""
        if issue_id not in self._issues:
            raise ValueError(f"there is no issue {issue_id!r:.80}")
        self._set(issue_id, status="waived", conflict_id=conflict_id)

    def _close(self, ids: Collection[str], mine: _Shown, message_id: str) -> list[str]:
        warnings = []
        for each in ids:
            issue_id = self._ids.get(each.strip().casefold())
            if issue_id is None or issue_id not in mine.ids:
                warnings.append(f"resolved: {each!r:.80} is no known issue: it is ignored")
            elif self._issues[issue_id].status == "open":
                self._set(issue_id, status="resolved", closed_in=message_id)
        return warnings

    def _known(self, issue: Issue, mine: _Shown, resolved: Collection[str], warnings: list[str]) -> Issue | None:
        given = issue.id.strip().casefold()
        by_id = self._ids.get(given)
        if by_id not in mine.ids:
            by_id = None
        by_title = mine.titles.get(same_title(issue.title))
        if by_id is not None and by_id != by_title:
            if by_title is None and given not in resolved:
                warnings.append(f"{by_id} is now called {issue.title!r:.80}: it is the issue it was")
                return self._issues[by_id]
            if by_title is None:
                return None
        found = by_title if by_title is not None else by_id
        return None if found is None else self._issues[found]

    def _new_id(self, issue: Issue, asked: Collection[str]) -> str:
        given = issue.id.strip()
        return given if _ID.fullmatch(given) and not self._in_use(given) else self._next(asked)

    def _open(self, issue: Issue, issue_id: str, *, message_id: str, role: str) -> None:
        self._ids[issue_id.casefold()] = issue_id
        self._issues[issue_id] = msgspec.structs.replace(
            issue, id=issue_id, status="open", opened_in=message_id, closed_in="", conflict_id="", opened_by=role
        )

    def _in_use(self, issue_id: str) -> bool:
        return issue_id.casefold() in self._ids or issue_id.casefold() in self._reserved

    def _next(self, asked: Collection[str]) -> str:
        while True:
            self._number += 1
            issue_id = f"R{self._number}"
            if not self._in_use(issue_id) and issue_id.casefold() not in asked:
                return issue_id

    def _set(self, issue_id: str, **changes: Any) -> None:
        self._issues[issue_id] = msgspec.structs.replace(self._issues[issue_id], **changes)
