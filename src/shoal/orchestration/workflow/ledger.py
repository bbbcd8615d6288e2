"""The issues of a run: opened by reviewers, closed by their ids and by nothing else.

An issue stands as the steps up to one have left it: what a review beside that step says of it changes nothing there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

import msgspec

from shoal.orchestration.workflow.review import Issue, Review

__all__ = ["Ledger", "same_title"]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,19}")
"""What a reviewer may call an issue by; it stands in prompts, so it must be no sentence."""


def same_title(title: str) -> str:
    """Return what two titles of one issue have in common: their words, in whatever case and spacing."""
    return " ".join(title.split()).casefold()


class _Shown:
    """The issues that a reviewer knows of, as they stand at his step, and what he *writes* there."""

    def __init__(self, issues: Iterable[Issue], written: dict[str, Issue]) -> None:
        self.issues: dict[str, Issue] = {}
        self.titles: dict[str, str] = {}
        self._written = written
        for issue in issues:
            self._add(issue)

    def write(self, issue: Issue) -> None:
        self._written[issue.id] = issue
        self._add(issue)

    def _add(self, issue: Issue) -> None:
        self.issues[issue.id] = issue
        self.titles[same_title(issue.title)] = issue.id


class Ledger:
    """All issues, as each step has left those that it touched."""

    def __init__(self) -> None:
        self._left: dict[str, dict[str, Issue]] = {}
        self._ids: dict[str, str] = {}
        self._reserved: set[str] = set()
        self._number = 0

    def seen(self, steps: Iterable[str]) -> tuple[Issue, ...]:
        """Return the issues that were found at *steps*, each as the last of them that touched it has left it."""
        found: dict[str, Issue] = {}
        for step in steps:
            found |= self._left.get(step, {})
        return tuple(found.values())

    def reserve(self, ids: Collection[str]) -> None:
        """Keep ids for those who had them in an earlier life of the run: nobody else gets them."""
        self._reserved.update(each.casefold() for each in ids)

    def take(
        self,
        review: Review,
        *,
        message_id: str,
        role: str,
        step: str = "",
        before: Iterable[str] = (),
        ids: Sequence[str] | None = None,
    ) -> list[str]:
        """Take a review in: close what it resolves, open what it names. What it names stays open, whatever it resolves.

        An issue is a known one by its id, else by its title; its first severity and title stand. An id that the review
        also resolves, with another title, is a new issue under an id of somebody else.

        Args:
            review: what was said.
            message_id: of the message that was answered.
            role: of the reviewer.
            step: at which it was said.
            before: the steps before that one, in order. What the reviewer calls by ids of other issues is not theirs.
            ids: by which its issues are on record, of a review that is taken in again.

        Returns:
            Warnings: ids that are not known, waived issues that were named again.
        """
        mine = _Shown(self.seen((*before, step)), self._left.setdefault(step, {}))
        warnings = self._close(review.resolved, mine, message_id)
        resolved = {each.strip().casefold() for each in review.resolved}
        asked = {issue.id.strip().casefold() for issue in review.issues}
        for place, issue in enumerate(review.issues):
            known = self._known(issue, mine, resolved, warnings)
            if known is None:
                issue_id = self._new_id(issue, asked) if ids is None else ids[place]
                mine.write(self._opened(issue, issue_id, message_id=message_id, role=role))
            elif known.status == "waived":
                warnings.append(f"{known.id} is named again; it stays waived, as decided in {known.conflict_id}")
            else:
                if issue.id.strip().casefold() in resolved:
                    warnings.append(f"{known.id} is both resolved and named: it stays open")
                mine.write(msgspec.structs.replace(known, status="open", closed_in=""))
        return warnings

    def waive(self, issue: Issue, conflict_id: str, *, step: str = "") -> None:
        """Say that the conflict *conflict_id* has overruled an issue at *step*, where it stands as it is given."""
        waived = msgspec.structs.replace(issue, status="waived", conflict_id=conflict_id)
        self._left.setdefault(step, {})[issue.id] = waived

    def _close(self, ids: Collection[str], mine: _Shown, message_id: str) -> list[str]:
        warnings = []
        for each in ids:
            issue = mine.issues.get(self._ids.get(each.strip().casefold(), ""))
            if issue is None:
                warnings.append(f"resolved: {each!r:.80} is no known issue: it is ignored")
            elif issue.status == "open":
                mine.write(msgspec.structs.replace(issue, status="resolved", closed_in=message_id))
        return warnings

    def _known(self, issue: Issue, mine: _Shown, resolved: Collection[str], warnings: list[str]) -> Issue | None:
        given = issue.id.strip().casefold()
        by_id = mine.issues.get(self._ids.get(given, ""))
        by_title = mine.issues.get(mine.titles.get(same_title(issue.title), ""))
        if by_title is not None or by_id is None:
            return by_title
        if given in resolved:
            return None
        warnings.append(f"{by_id.id} is now called {issue.title!r:.80}: it is the issue it was")
        return by_id

    def _new_id(self, issue: Issue, asked: Collection[str]) -> str:
        given = issue.id.strip()
        return given if _ID.fullmatch(given) and not self._in_use(given) else self._next(asked)

    def _opened(self, issue: Issue, issue_id: str, *, message_id: str, role: str) -> Issue:
        self._ids[issue_id.casefold()] = issue_id
        return msgspec.structs.replace(
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
