from __future__ import annotations

import msgspec

from shoal.boxes.faults import rebuild_error, to_record
from shoal.boxes.guest.faults import TRACEBACK_LIMIT
from shoal.boxes.wire import ErrorRecord
from shoal.errors import DeadlockError, GroupError, PayloadError, RequestFailedError
from shoal.kernel.failure import RemoteError


def crossed(error: BaseException) -> Exception:
    raw = msgspec.json.encode(to_record(error, origin="i1"))
    return rebuild_error(msgspec.json.decode(raw, type=ErrorRecord))


def test_errors_of_shoal_come_back_as_themselves() -> None:
    found = crossed(DeadlockError(["a", "b", "a"]))
    assert isinstance(found, DeadlockError)
    assert (str(found), found.cycle) == ("deadlock: a -> b -> a", ("a", "b", "a"))
    refused = crossed(PayloadError("x is a set", path="x"))
    assert isinstance(refused, PayloadError)
    assert refused.path == "x" and refused.__notes__ == PayloadError("x").__notes__
    failed = crossed(RequestFailedError("no", error_type="E", error_message="m", traceback="t"))
    assert isinstance(failed, RequestFailedError)
    assert (failed.error_type, failed.error_message, failed.traceback) == ("E", "m", "t")
    group = crossed(GroupError("two", failures={"a": ValueError("no")}))
    assert isinstance(group, GroupError)
    assert dict[str, object](group.failures) == {"a": "ValueError: no"}


def test_other_errors_keep_their_names_through_two_crossings() -> None:
    first = crossed(KeyError("k"))
    again = crossed(first)
    for error in (first, again):
        assert isinstance(error, RemoteError)
        assert error.error_type == "KeyError"
        assert error.error_bases == ("KeyError", "LookupError", "Exception")
    assert vars(again)["_origin"] == "i1"


def test_hostile_records_only_become_data() -> None:
    for kind in ("nearest", "ShoalError", "Iterable", "__builtins__", "annotations", "ConfigError"):
        record = ErrorRecord(type=kind, text="t", attributes={"__class__": "x", "args": [1], "_rebuild": 1, "note": 2})
        error = rebuild_error(record)
        assert isinstance(error, Exception)
        assert str(error) == "t"


def test_unprintable_and_endless_errors_are_described() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    error = Mute()
    error.big = "x" * 100_000  # type: ignore[attr-defined]
    error.surrogate = "\ud800"  # type: ignore[attr-defined]
    error.odd = {1, 2}  # type: ignore[attr-defined]
    record = to_record(error)
    msgspec.json.encode(record)
    assert record.type == "Mute" and "RuntimeError" in record.text
    assert "big" not in record.attributes and record.attributes["odd"] == "{1, 2}"
    assert len(to_record(ValueError("y" * 100_000)).text) <= TRACEBACK_LIMIT
