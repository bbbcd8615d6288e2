"""Many operations in one transaction, and what becomes of each when it fails.

Whatever is queued while a group is written is written together next (the group commit of Gawlick and Kinkade,
"Varieties of concurrency control in IMS/VS Fast Path", 1985).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

from shoal.errors import StoreError
from shoal.kernel.clock import RealClock
from shoal.store.sql.hot import HOT, Hot
from shoal.store.sql.operations import Operation, Outcome
from shoal.store.sql.transaction import Refusal, Transaction

__all__ = ["Group", "Written", "apply", "write_group"]

Group = list[Operation[Any]]
Written = tuple[list[Outcome], bool]
"""What became of each operation, and whether somebody wants to hear of the commit."""

_LONG_SECONDS = 3.0  # others wait for a group; a server may end what lasts too long, and all of it is refused then
_now = RealClock().monotonic


class _SpoiledError(Exception):
    """An operation failed after it had written something."""


class _TooLongError(Exception):
    """A group takes very long; so many of its operations had been carried out by then."""

    def __init__(self, done: int) -> None:
        super().__init__(done)
        self.done = done


def write_group(
    group: Group,
    transact: Callable[[Group], Written],
    *,
    refused: tuple[type[Exception], ...],
    failed: tuple[type[Exception], ...],
    failure: Callable[[Exception], StoreError],
) -> Written:
    """Write a group in one transaction; if that fails, its operations one by one, and if it takes very long, in parts.

    Args:
        group: the operations, in order.
        transact: writes a group in one transaction, or raises and leaves nothing.
        refused: errors for which the next operation would be refused as well.
        failed: further errors of the driver.
        failure: makes what whoever waits is told of an error of the driver.
    """
    hopeless: tuple[type[Exception], ...] = (StoreError, *refused)  # a StoreError: another process holds everything up
    caught: tuple[type[Exception], ...] = (_SpoiledError, *hopeless, *failed)
    size = 1
    try:
        return transact(group)
    except _TooLongError as error:
        size = max(1, error.done // 2)
    except caught as error:
        if len(group) == 1 or isinstance(error, hopeless):
            told = _told(error, failure)
            return [(operation, told, None) for operation in group], False
    parts = [
        write_group(group[start : start + size], transact, refused=refused, failed=failed, failure=failure)
        for start in range(0, len(group), size)
    ]
    return [outcome for outcomes, _ in parts for outcome in outcomes], any(heard for _, heard in parts)


def _told(error: Exception, failure: Callable[[Exception], StoreError]) -> BaseException:
    if isinstance(error, StoreError):
        return error
    if isinstance(error, _SpoiledError) and error.__cause__ is not None:
        return error.__cause__
    told = failure(error)
    told.__cause__ = error
    return told


def apply(cx: Transaction, group: Group, driver_errors: tuple[type[Exception], ...]) -> list[Outcome]:
    """Carry operations out within a transaction; return what became of each.

    One of *driver_errors*, any error after something was written, and a time that is up with more to do, end the
    transaction.
    """
    outcomes: list[Outcome] = []
    until = _now() + _LONG_SECONDS
    for hot, operations in _parts(group):
        if hot is not None and hot.many is not None and len(operations) > 1:
            outcomes += _apply_many(cx, hot.many, operations, driver_errors)
        else:
            for operation in operations:
                if outcomes and _now() > until:
                    raise _TooLongError(len(outcomes))
                outcomes.append(_apply_one(cx, operation, driver_errors))
    return outcomes


def _parts(group: Group) -> Iterator[tuple[Hot | None, Group]]:
    """Yield the operations in the order in which they are carried out, those of one hot verb together."""
    for has_rank, neighbours in groupby(group, key=lambda operation: _rank(operation) is not None):
        if not has_rank:
            yield None, list(neighbours)
            continue
        ranked = sorted(neighbours, key=lambda operation: _rank(operation) or 0)
        for fn, operations in groupby(ranked, key=lambda operation: operation.fn):
            yield HOT[fn], list(operations)


def _rank(operation: Operation[Any]) -> int | None:
    hot = HOT.get(operation.fn)
    return None if hot is None else hot.rank


def _apply_many(
    cx: Transaction, many: Callable[..., list[Any]], operations: Group, driver_errors: tuple[type[Exception], ...]
) -> list[Outcome]:
    before = cx.mark()
    try:
        values = many(cx, operations)
    except driver_errors:
        raise
    except Exception as error:
        if cx.mark() != before:
            raise _SpoiledError from error
        return [_apply_one(cx, operation, driver_errors) for operation in operations]
    return [(operation, None, value) for operation, value in zip(operations, values, strict=True)]


def _apply_one(cx: Transaction, operation: Operation[Any], driver_errors: tuple[type[Exception], ...]) -> Outcome:
    before = cx.mark()
    cx.span = operation.span
    try:
        value = operation.fn(cx, *operation.args)
    except driver_errors:
        raise
    except Exception as error:
        if cx.mark() != before:
            raise _SpoiledError from error
        return operation, error, None
    if type(value) is Refusal:
        return operation, value.error, None
    return operation, None, value
