"""Many operations in one transaction, and what becomes of each when it fails.

Whatever is queued while a group is written is written together next (the group commit of Gawlick and Kinkade,
"Varieties of concurrency control in IMS/VS Fast Path", 1985).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shoal.errors import StoreError
from shoal.store.sql.operations import Operation, Outcome
from shoal.store.sql.transaction import Refusal, Transaction

__all__ = ["Group", "Written", "apply", "write_group"]

Group = list[Operation[Any]]
Written = tuple[list[Outcome], bool]
"""What became of each operation, and whether somebody wants to hear of the commit."""


class _SpoiledError(Exception):
    """An operation failed after it had written something."""


def write_group(
    group: Group,
    transact: Callable[[Group], Written],
    *,
    refused: tuple[type[Exception], ...],
    failed: tuple[type[Exception], ...],
    failure: Callable[[Exception], StoreError],
) -> Written:
    """Write a group in one transaction; if that fails, its operations one by one.

    Args:
        group: the operations, in order.
        transact: writes a group in one transaction, or raises and leaves nothing.
        refused: errors for which the next operation would be refused as well.
        failed: further errors of the driver.
        failure: makes what whoever waits is told of an error of the driver.
    """
    caught: tuple[type[Exception], ...] = (_SpoiledError, *refused, *failed)
    try:
        return transact(group)
    except StoreError as error:  # another process holds everything up
        return [(operation, error, None) for operation in group], False
    except caught as error:
        if len(group) == 1 or isinstance(error, refused):
            told = _told(error, failure)
            return [(operation, told, None) for operation in group], False
    outcomes: list[Outcome] = []
    announce = False
    for operation in group:
        alone, heard = write_group([operation], transact, refused=refused, failed=failed, failure=failure)
        outcomes += alone
        announce = announce or heard
    return outcomes, announce


def _told(error: Exception, failure: Callable[[Exception], StoreError]) -> BaseException:
    if isinstance(error, _SpoiledError) and error.__cause__ is not None:
        return error.__cause__
    told = failure(error)
    told.__cause__ = error
    return told


def apply(cx: Transaction, operation: Operation[Any], driver_errors: tuple[type[Exception], ...]) -> Outcome:
    """Carry an operation out within a transaction; return what became of it.

    One of *driver_errors*, and any error after something was written, ends the transaction.
    """
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
