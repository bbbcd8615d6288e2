"""The message by which work is given to somebody: its JSON has exactly these keys, in this order."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NoReturn

import msgspec

from shoal.errors import WorkMessageError
from shoal.kernel.message import AgentMessage
from shoal.kernel.task import PRIORITIES
from shoal.orchestration.workflow.expected import ExpectedOutput

__all__ = ["MESSAGE_TYPE", "WorkMessage", "WorkOrder"]

MESSAGE_TYPE = "work"
TEXTS = ("message_id", "from_agent", "to_agent", "task_type")


class WorkOrder(msgspec.Struct, frozen=True):
    """What is to be done. ``input_data``: what was handed in before, by role and title."""

    description: str
    requirements: tuple[str, ...] = ()
    input_data: dict[str, Any] = {}


class WorkMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Work for somebody.

    Attributes:
        message_id: ``msg_1``, ``msg_2`` … in the order of the run.
        from_agent, to_agent: names of roles in lower case.
        task_type: as of the step.
        priority: ``high``, ``medium``, ``low``, or 0 to 100, 0 first; it goes out as it came in.
        context: JSON values by name.
        task, expected_output: what is to be done, and what must be handed in.
        unknown: keys of a message of somebody else that are not known, by the object they stand in (``""``, ``task``,
            ``expected_output``); UNSET: none.

    Raises:
        WorkMessageError: every field that cannot be, and what is allowed.
    """

    message_id: str
    from_agent: str
    to_agent: str
    task_type: str
    priority: str | int
    context: dict[str, Any] = {}
    task: WorkOrder
    expected_output: ExpectedOutput = ExpectedOutput()
    unknown: dict[str, dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        faults: list[str] = []
        for name in TEXTS:
            _check_text(getattr(self, name), name, faults)
        _check_priority(self.priority, faults)
        _check_object(self.context, "context", faults)
        task: Any = self.task
        if isinstance(task, WorkOrder):
            _check_text(task.description, "task.description", faults)
            _check_texts(task.requirements, "task.requirements", faults)
            _check_object(task.input_data, "task.input_data", faults)
        else:
            faults.append(f"task: {task!r:.80} is not a WorkOrder")
        expected: Any = self.expected_output
        if not isinstance(expected, ExpectedOutput):
            faults.append(f"expected_output: {expected!r:.80} is not an ExpectedOutput")
        if faults:
            raise WorkMessageError("; ".join(faults))

    def to_json(self) -> str:
        """Return its JSON, two spaces deep. Raises WorkMessageError when something in it is no JSON value."""
        try:
            return json.dumps(self._data(), indent=2, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise WorkMessageError(f"something in it is no JSON value: {error}") from error

    @classmethod
    def from_json(cls, data: str | bytes | dict[str, Any], strict: bool = True) -> WorkMessage:
        """Return the message in JSON, or in the objects of one.

        Args:
            data: a text, or what it was parsed to.
            strict: whether unknown keys are refused; else they are kept in ``unknown``.

        Raises:
            WorkMessageError: every fault with its path, such as ``task: missing`` or ``task.deadline: unknown key``.
        """
        return _Reading(_parsed(data), strict).message()

    def to_agent_message(self, at: datetime) -> AgentMessage:
        """Return it as a message of type ``work``, with all of it in ``data``.

        Args:
            at: when it is sent; with a time zone.
        """
        if at.tzinfo is None:
            raise ValueError("at must have a time zone: datetime.now(UTC)")
        return AgentMessage(
            message_id=self.message_id,
            sender_id=self.from_agent,
            sender_name=self.from_agent,
            recipient_ids=(self.to_agent,),
            message_type=MESSAGE_TYPE,
            data=json.loads(self.to_json()),
            timestamp=at,
        )

    @classmethod
    def from_agent_message(cls, message: AgentMessage) -> WorkMessage:
        """Return the message that a message of type ``work`` carries, with unknown keys. Raises WorkMessageError."""
        if message.message_type != MESSAGE_TYPE:
            raise WorkMessageError(f"message_type: {message.message_type!r:.80} is not {MESSAGE_TYPE!r}")
        return cls.from_json(message.data, strict=False)

    def _data(self) -> dict[str, Any]:
        unknown = self.unknown or {}
        order, expected = self.task, self.expected_output
        return {
            **{name: getattr(self, name) for name in TEXTS},
            "priority": self.priority,
            "context": self.context,
            "task": {
                "description": order.description,
                "requirements": list(order.requirements),
                "input_data": order.input_data,
                **unknown.get("task", {}),
            },
            "expected_output": {
                "files": list(expected.files),
                "tests": expected.tests,
                "coverage": expected.coverage,
                **unknown.get("expected_output", {}),
            },
            **unknown.get("", {}),
        }


class _Reading:
    """Reads the objects of a message, and finds all faults before it raises."""

    def __init__(self, data: dict[str, Any], strict: bool) -> None:
        self._data = data
        self._strict = strict
        self._faults: list[str] = []
        self._unknown: dict[str, dict[str, Any]] = {}

    def message(self) -> WorkMessage:
        """Return it. Raises WorkMessageError."""
        data, faults = self._data, self._faults
        for name in TEXTS:
            _check_text(data.get(name), name, faults)
        _check_priority(data.get("priority"), faults)
        context = _check_object(data.get("context", {}), "context", faults)
        order = self._order()
        expected = self._expected()
        self._look_for_unknown("", data, {*TEXTS, "priority", "context", "task", "expected_output"})
        if faults or order is None or expected is None:
            raise WorkMessageError("; ".join(faults))
        return WorkMessage(
            **{name: data[name] for name in TEXTS},
            priority=data["priority"],
            context=context,
            task=order,
            expected_output=expected,
            unknown=self._unknown or msgspec.UNSET,
        )

    def _order(self) -> WorkOrder | None:
        task = self._data.get("task")
        if task is None:
            self._faults.append("task: missing")
            return None
        if not isinstance(task, dict):
            self._faults.append(f"task: {task!r:.80} is no object")
            return None
        before = len(self._faults)
        _check_text(task.get("description"), "task.description", self._faults)
        requirements = _check_texts(task.get("requirements", []), "task.requirements", self._faults)
        given = _check_object(task.get("input_data", {}), "task.input_data", self._faults)
        self._look_for_unknown("task", task, set(WorkOrder.__struct_fields__))
        return WorkOrder(task["description"], requirements, given) if len(self._faults) == before else None

    def _expected(self) -> ExpectedOutput | None:
        expected = self._data.get("expected_output", {})
        if not isinstance(expected, dict):
            self._faults.append(f"expected_output: {expected!r:.80} is no object")
            return None
        self._look_for_unknown("expected_output", expected, set(ExpectedOutput.__struct_fields__))
        known = {name: expected[name] for name in ExpectedOutput.__struct_fields__ if name in expected}
        try:
            return ExpectedOutput(**known)
        except ValueError as error:
            self._faults.append(f"expected_output.{error}")
            return None

    def _look_for_unknown(self, place: str, data: dict[str, Any], known: set[str]) -> None:
        unknown = {name: value for name, value in data.items() if name not in known}
        if unknown and self._strict:
            self._faults += [f"{f'{place}.' if place else ''}{name:.80}: unknown key" for name in unknown]
        elif unknown:
            self._unknown[place] = unknown


def _parsed(data: Any) -> dict[str, Any]:
    """Return the objects in *data*, its own copy of them."""
    try:
        text = json.dumps(data, allow_nan=False) if isinstance(data, dict) else data
        value = json.loads(text, parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise WorkMessageError(f"the message is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise WorkMessageError(f"the message must be an object, not {value!r:.80}")
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _check_text(value: Any, path: str, faults: list[str]) -> None:
    if value is None:
        faults.append(f"{path}: missing")
    elif not isinstance(value, str) or not value:
        faults.append(f"{path}: {value!r:.80} must be a text that is not empty")


def _check_priority(value: Any, faults: list[str]) -> None:
    if value is None:
        faults.append("priority: missing")
        return
    number = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100
    if not number and not (isinstance(value, str) and value in PRIORITIES):
        faults.append(f"priority: {value!r:.80} is not high, medium, low or 0 to 100")


def _check_object(value: Any, path: str, faults: list[str]) -> dict[str, Any]:
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return value
    faults.append(f"{path}: {value!r:.80} must be an object of values by name")
    return {}


def _check_texts(value: Any, path: str, faults: list[str]) -> tuple[str, ...]:
    if isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value):
        return tuple(value)
    faults.append(f"{path}: {value!r:.80} must be a list of texts")
    return ()
