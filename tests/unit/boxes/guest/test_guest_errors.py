from __future__ import annotations

import pytest

from shoal import errors as host
from shoal.boxes.faults import to_record
from shoal.boxes.guest import errors
from shoal.boxes.guest.errors import KNOWN, rebuild_error

SAMPLES: list[Exception] = [
    host.BoxNotFoundError("b"),
    host.SelfSendError(),
    host.NotAllowedError("a", "b"),
    host.NoHandlerError("Box 'b' has no message handler"),
    host.DeadAgentError("Box 'b' died (exit code 3)", reason="died", exit_code=3, name="b"),
    host.BoxNotRunningError("b"),
    host.BoxStoppedError("b"),
    host.ResponseTimeoutError("Timeout waiting for 'b' after 0.5 s"),
    host.RequestFailedError("boom", error_type="ValueError", error_message="boom", traceback="T", box="b"),
    host.PayloadError("data: set is not JSON", path="data"),
    host.MessageTooLargeError(11, 10, path="data"),
    host.MailboxFullError(["b"], 1000),
    host.DeadlockError(["a", "b", "a"]),
    host.ChainTooDeepError(64),
]


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_every_error_of_the_host_arrives_by_its_name_with_its_text_and_fields(error: Exception) -> None:
    record = to_record(error)
    rebuilt = rebuild_error({"type": record.type, "text": record.text, "attributes": record.attributes})
    assert type(rebuilt).__name__ == type(error).__name__
    assert str(rebuilt) == str(error)
    assert isinstance(rebuilt, RuntimeError)
    for name, value in vars(error).items():
        if not name.startswith("_"):
            assert getattr(rebuilt, name) == value, name


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_every_class_of_a_guest_has_its_namesake_of_the_same_kind(name: str) -> None:
    assert issubclass(KNOWN[name], RuntimeError)
    theirs = getattr(host, name)
    for kind in (ValueError, LookupError, TimeoutError, ConnectionError):
        assert issubclass(KNOWN[name], kind) == issubclass(theirs, kind), kind


def test_an_error_nobody_knows_is_one_that_a_handler_raised() -> None:
    error = rebuild_error({"type": "Strange", "text": "t", "traceback": "T", "notes": ["n"]})
    assert isinstance(error, errors.RequestFailedError)
    assert (error.error_type, error.error_message, error.traceback) == ("Strange", "t", "T")
    assert error.__notes__ == ["n"]


def test_attributes_cannot_touch_what_is_private() -> None:
    error = rebuild_error({"type": "BoxError", "text": "t", "attributes": {"__class__": 1, "_x": 2, "y": [3]}})
    assert vars(error) == {"y": (3,)}


def test_an_error_can_be_made_by_hand() -> None:
    for cls in KNOWN.values():
        assert str(cls("text")) == "text"
