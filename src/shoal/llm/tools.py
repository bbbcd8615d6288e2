"""Tools: what a model may ask to be run."""

from __future__ import annotations

import copy
import inspect
import math
import re
from collections.abc import Callable
from typing import Any, ClassVar, Literal, overload

import msgspec

from shoal.errors import nearest
from shoal.kernel.run import Effect
from shoal.llm.docstrings import Docs, read_docs
from shoal.llm.model import ToolSpec
from shoal.llm.signatures import Signature
from shoal.llm.toolcontext import ToolContext

__all__ = ["ISOLATIONS", "Tool", "ToolContext", "ToolRecord", "as_tool", "tool"]

Isolation = Literal["inline", "thread", "process", "bubblewrap", "gvisor", "microvm", "auto"]
ISOLATIONS = ("inline", "thread", "process", "bubblewrap", "gvisor", "microvm", "auto")
"""Where a tool may run. From ``process`` on its time-out really ends its code, and a runtime is needed."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FIELDS = (
    *(
        "name",
        "description",
        "parameters",
        "timeout",
        "effect",
        "approval",
        "approval_timeout",
        "isolation",
        "max_chars",
    ),
)


class ToolRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one call of a tool went.

    arguments: as JSON values; the model's own text where that is no JSON object.
    content: what the model reads.
    error: what was wrong, None when nothing was.
    approved_by: who decided that it may run.
    replayed: it was done before, and nothing was run now.
    """

    call_id: str
    name: str
    arguments: Any = None
    content: str = ""
    success: bool = True
    error: str | None = None
    duration_ms: float = 0.0
    approved_by: str = ""
    replayed: bool = False


class Tool:
    """A tool: a function with what there is to know about running it.

    Made of a function, ``Tool(fn, timeout=5)`` or ``@tool(timeout=5)``, or as a subclass with a method ``execute``, sync
    or async, and the fields as class attributes. Called like a function it runs that function, without any of them.

    Attributes:
        name: 1 to 64 letters, digits, ``_`` and ``-``; default: the function's, or the class's.
        description: for the model; default: the docstring up to its first section.
        parameters: the JSON schema of the arguments; default: out of the signature.
        timeout: seconds for one run, always on. A coroutine is cancelled; a thread is abandoned and reported; a process
            of its own is killed.
        effect: what becomes of a run that a crash hid: ``repeat``, it is done again; ``keyed``, again with the same
            ``ToolContext.key``; ``once``, never again: a person is asked how it went, or the model is told that nobody
            knows.
        approval: True, or ``fn(arguments) -> bool``: a person decides before it runs.
        approval_timeout: seconds that the person has; None: any time.
        isolation: where it runs.
        max_chars: what the model sees of a result: more is cut in the middle. The journal keeps all.
    """

    name: str = ""
    description: str = ""
    parameters: ClassVar[dict[str, Any] | None] = None
    timeout: float = 60.0
    effect: Effect = "repeat"
    approval: bool | Callable[[dict[str, Any]], bool] = False
    approval_timeout: float | None = None
    isolation: Isolation = "inline"
    max_chars: int = 20_000

    _fn: Callable[..., Any] | None = None
    _signature: Signature | None = None

    def __init__(self, fn: Callable[..., Any] | None = None, **fields: Any) -> None:
        """Make a tool of *fn*, with *fields* other than the defaults.

        Raises:
            TypeError: no such field; no function; a parameter of *fn* that JSON cannot give.
            ValueError: a field, its value and what is allowed.
        """
        for field in fields:
            if field not in _FIELDS:
                raise TypeError(f"a Tool has no field {field[:80]!r}{nearest(field, _FIELDS)}")
        if fn is not None:
            if not callable(fn) or isinstance(fn, type):
                raise TypeError(f"a Tool is made of a function, not of {fn!r:.80}")
            self._fn = fn
        self.__dict__.update(fields)
        if fn is not None or type(self) is not Tool:
            self.check()

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Run the tool's code. A subclass has its own."""
        if self._fn is None:
            raise NotImplementedError(f"{type(self).__name__} has no method execute(self, ...)")
        return self._fn(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.execute(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Tool {self.label}>"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_signature"}

    @property
    def label(self) -> str:
        """Its name."""
        return self.name or (getattr(self._fn, "__name__", "") if self._fn is not None else type(self).__name__)

    @property
    def target(self) -> Callable[..., Any]:
        """The code itself."""
        return self._fn if self._fn is not None else self.execute

    @property
    def signature(self) -> Signature:
        """What it takes. Raises TypeError."""
        if self._signature is None:
            self._signature = Signature(self.target, self.label, self._docs().parameters, self.parameters)
        return self._signature

    @property
    def spec(self) -> ToolSpec:
        """What a model is told of it."""
        text = self.description or self._docs().text
        return ToolSpec(name=self.label, description=text, parameters=self.signature.schema)

    def _docs(self) -> Docs:
        docs = read_docs(getattr(self.target, "__doc__", None))
        if self._fn is not None:
            return docs
        own = "" if type(self).__doc__ == Tool.__doc__ else type(self).__doc__
        of_class = read_docs(own)
        if type(self).execute is Tool.execute:
            docs = Docs("", {})
        return Docs(of_class.text or docs.text, {**of_class.parameters, **docs.parameters})

    def check(self) -> None:
        """Raise what is wrong with it: TypeError or ValueError."""
        if self._fn is None and type(self).execute is Tool.execute:
            raise TypeError(f"{type(self).__name__} has no method execute(self, ...)")
        name = self.label
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"a tool's name is 1 to 64 of letters, digits, '_' and '-', not {name!r:.80}: give it one with name="
            )
        target = inspect.unwrap(self.target)
        if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
            raise TypeError(f"tool {name!r} is a generator: it must return its result")
        self._check_fields(name)
        _ = self.signature

    def _check_fields(self, name: str) -> None:
        faults = [
            ("timeout", _positive(self.timeout), "a number of seconds above 0"),
            ("effect", self.effect in ("repeat", "keyed", "once"), "'repeat', 'keyed' or 'once'"),
            ("approval", _is_rule(self.approval), "True, False or a function that is not async"),
            ("approval_timeout", self.approval_timeout is None or _positive(self.approval_timeout), "above 0, or None"),
            ("isolation", self.isolation in ISOLATIONS, f"one of {', '.join(ISOLATIONS)}"),
            ("max_chars", _whole(self.max_chars, 100), "a whole number from 100"),
            ("description", isinstance(self.description, str), "text"),
            ("parameters", self.parameters is None or isinstance(self.parameters, dict), "a JSON schema, or None"),
        ]
        for field, good, allowed in faults:
            if not good:
                raise ValueError(f"tool {name!r}: {field}={getattr(self, field)!r:.80}: it must be {allowed}")

    def renamed(self, name: str) -> Tool:
        """Return the same tool under another name."""
        other = copy.copy(self)
        other.name = name
        return other

    def wants_approval(self, arguments: dict[str, Any]) -> bool:
        """Tell whether a person has to decide on a call with *arguments*. Raises what its function raises."""
        approval = self.approval
        return approval if isinstance(approval, bool) else bool(approval(arguments))


def _is_rule(value: object) -> bool:
    return isinstance(value, bool) or (callable(value) and not inspect.iscoroutinefunction(value))


def _positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


@overload
def tool(fn: Callable[..., Any], /) -> Tool: ...
@overload
def tool(**fields: Any) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(fn: Callable[..., Any] | None = None, /, **fields: Any) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a function: ``@tool``, or ``@tool(timeout=5, effect="once")`` with fields of ``Tool``.

    Raises:
        TypeError: no such field; no function; a parameter of it that JSON cannot give.
        ValueError: a field, its value and what is allowed.
    """
    if fn is not None:
        return Tool(fn, **fields)
    return lambda function: Tool(function, **fields)


def as_tool(given: object, place: str = "tools") -> Tool:
    """Return the tool that *given* is: a Tool, a subclass of it, or a function.

    Raises:
        TypeError, ValueError: it is none, or something is wrong with it; *place* says where it stood.
    """
    if isinstance(given, type) and issubclass(given, Tool):
        given = given()
    if isinstance(given, Tool):
        given.check()
        return given
    if callable(given) and not isinstance(given, type):
        if getattr(given, "__name__", "") == "<lambda>":
            raise ValueError(f"{place}: a lambda has no name: use Tool(fn, name=...)")
        return Tool(given)
    raise TypeError(f"{place} is {type(given).__name__}: a tool is a function, a Tool or MCPTools")
