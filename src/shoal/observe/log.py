"""Logs with the agent and task that they belong to, as JSON lines or for people. Nothing is installed on import."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

import msgspec

from shoal.errors import ConfigError
from shoal.kernel.context import current_invocation
from shoal.kernel.trace import current_span

__all__ = ["JsonFormatter", "TextFormatter", "configure_logging", "identities"]

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_NAMED = "shoal.agent."
_IDENTITIES = ("agent", "agent_id", "task_id", "run_id", "trace_id", "span_id")


def identities(record: logging.LogRecord) -> dict[str, str]:
    """Return what *record* belongs to: agent (its name), agent_id, task_id, run_id, trace_id, span_id, as far as known.

    What the caller gave with ``extra=`` comes first, then the invocation and the span under way in this asyncio task or
    thread, then the logger's name. So it is to be called where the record was made, as a handler does.
    """
    known: dict[str, str] = {}
    if record.name.startswith(_NAMED):
        known["agent"] = record.name.removeprefix(_NAMED)
    invocation = current_invocation.get()
    if invocation is not None:
        known["agent_id"] = invocation.invocation_id.partition("/")[0]
        if invocation.task is not None:
            known["task_id"] = invocation.task.task_id
    span = current_span.get()
    if span is not None:
        known |= {"trace_id": span.trace_id, "span_id": span.span_id}
    given = {name: getattr(record, name, None) for name in _IDENTITIES}
    return known | {name: str(value) for name, value in given.items() if value is not None}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, identities, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **identities(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class TextFormatter(logging.Formatter):
    """Time, level, who, message: a line for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(who)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        known = identities(record)
        who = [known.get("agent") or known.get("agent_id") or record.name]
        who += [f"{word} {known[f'{word}_id']}" for word in ("task", "run", "trace") if f"{word}_id" in known]
        record.who = " ".join(who)
        return super().format(record)


class _Handler(logging.StreamHandler[TextIO]):
    """The one handler that ``configure_logging`` installs, and replaces when it is called again."""


def configure_logging(level: str = "INFO", json: bool = False, stream: TextIO | None = None) -> logging.Handler:
    """Send what is logged under ``shoal`` to *stream*, and return the handler. A second call replaces the first.

    Args:
        level: DEBUG, INFO, WARNING, ERROR or CRITICAL.
        json: a JSON object a line; else text for people.
        stream: default: standard error.

    Raises:
        ConfigError: unknown level; nothing was changed.
    """
    if level not in _LEVELS:
        raise ConfigError(f"log_level must be one of {', '.join(_LEVELS)}, not {level!r:.80}")
    logger = logging.getLogger("shoal")
    for earlier in [handler for handler in logger.handlers if isinstance(handler, _Handler)]:
        logger.removeHandler(earlier)
    handler = _Handler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter() if json else TextFormatter())
    logger.addHandler(handler)
    logger.setLevel(level)
    return handler
