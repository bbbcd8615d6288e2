"""The frame protocol between a runtime and a child: its records, and bytes to records and back. No I/O here.

Any bytes, in any pieces, give records or an error (FrameError from the splitter, ProtocolError from here), nothing
else. Unknown fields are ignored, unknown types are a violation. Values that the runtime only passes on stay encoded
(``msgspec.Raw``).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec

from shoal.boxes.guest.frames import BLOCK, JSON, frame, split_block
from shoal.errors import ProtocolError
from shoal.kernel.message import AgentMessage
from shoal.kernel.task import RetryPolicy, Task
from shoal.kernel.trace import DoneSpan, Span

__all__ = [
    "ARGUMENT_TYPES", "Assign", "Block", "Call", "Cancel", "Done", "ErrorRecord", "FromGuest", "Held", "Hello",
    "Hold", "Interrupt", "Invoke", "Listen", "Loaded", "Metric", "NOTHING", "Number", "PROTOCOL", "Ping", "Pong", "Preload",
    "Program", "ROOM", "Ready", "Release", "Result", "Spans", "Stop", "Stopping", "ToGuest", "Uncall", "Watch", "WireRecord",
    "decode_record", "encode_record", "from_guest", "to_guest",
]  # fmt: skip

PROTOCOL = (1, 0)
"""Major and minor version. Another major version cannot be talked to."""

ARGUMENT_TYPES: dict[str, Any] = {
    "message": AgentMessage,
    "retry": RetryPolicy | None,
    "not_before": datetime | None,
}
"""The arguments of verbs that are not plain JSON, by name, also within ``options``."""

ROOM = 64 * 1024
"""Bytes that a frame may have beside the largest message."""

NOTHING = msgspec.Raw(b"null")
Number = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""What a child may send: JSON knows larger numbers, which could not be written back."""


class WireRecord(msgspec.Struct, frozen=True, tag_field="type", tag=str.lower):
    """One J frame; its type is the class' name in small letters."""


class ErrorRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An error that crossed: ``bases`` names its class and their bases, ``origin`` the invocation that raised it."""

    type: str
    text: str = ""
    traceback: str = ""
    bases: tuple[str, ...] = ()
    attributes: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    origin: str | None = None


# -- from the child ------------------------------------------------------------------------------------------------


class Hello(WireRecord, frozen=True, kw_only=True):
    """The first frame of a child, with what its kernel says: its user, its effective capabilities in hexadecimal, and the
    mode of its system call filter (2: a program filters)."""

    protocol: tuple[int, int]
    guest: str
    python: str
    pid: Number
    uid: Number | None = None
    capabilities: str = ""
    seccomp: Number | None = None


class Loaded(WireRecord, frozen=True):
    """What ``preload`` named is imported."""


class Ready(WireRecord, frozen=True, kw_only=True):
    """The agent is constructed, or ``error`` says why not (``phase``: program or constructor)."""

    takes_tasks: bool = False
    takes_messages: bool = False
    hooks: tuple[str, ...] = ()
    error: ErrorRecord | None = None
    phase: str = ""


class Done(WireRecord, frozen=True, kw_only=True):
    """An invocation has ended."""

    id: str
    data: msgspec.Raw = NOTHING
    error: ErrorRecord | None = None


class Call(WireRecord, frozen=True, kw_only=True, omit_defaults=True):
    """The agent asks its runtime for something: a verb of ``AgentContext``, from within ``invocation`` and ``span``."""

    id: Number
    verb: str
    invocation: str | None = None
    args: dict[str, Any] = {}
    taken: tuple[Number, ...] = ()  # earlier calls that took mail, and whose results the agent has
    span: Span | None = None


class Uncall(WireRecord, frozen=True, kw_only=True):
    """Nobody waits for that call any more. When its result is under way, what it took is given back."""

    id: Number


class Watch(WireRecord, frozen=True, kw_only=True):
    """The agent looks at ``is_stopping`` in that invocation and wants to be told."""

    invocation: str | None = None


class Metric(WireRecord, frozen=True, kw_only=True):
    """A number of the agent's own."""

    kind: str
    name: str
    value: float


class Spans(WireRecord, frozen=True, kw_only=True):
    """Spans that have ended in the child since the last time, and how many more there were."""

    spans: tuple[DoneSpan, ...] = ()
    dropped: Annotated[int, msgspec.Meta(ge=0, lt=1 << 60)] = 0


class Held(WireRecord, frozen=True, kw_only=True):
    """The answer to ``hold``; ``error`` says why it could not be."""

    id: Number
    error: ErrorRecord | None = None


class Pong(WireRecord, frozen=True, kw_only=True):
    """The answer to ``ping``."""

    id: Number


FromGuest = Hello | Loaded | Ready | Done | Call | Uncall | Watch | Metric | Spans | Held | Pong


# -- to the child --------------------------------------------------------------------------------------------------


class Preload(WireRecord, frozen=True, kw_only=True):
    """Where to import from. The child imports the modules *load*, what it will need, and says ``loaded``."""

    path: tuple[str, ...] = ()
    load: tuple[str, ...] = ()


class Assign(WireRecord, frozen=True, kw_only=True):
    """Who the child is from now on. ``rlimits`` maps names as ``nofile`` to numbers; ``max_message`` is in bytes.
    ``title`` is what its process is called in lists of processes."""

    agent_id: str
    name: str
    runtime_id: str
    node_id: str
    config: dict[str, Any] = {}
    path: tuple[str, ...] = ()
    env: dict[str, str] = {}
    rlimits: dict[str, int] = {}
    max_message: int = 10 * 1024 * 1024
    in_flight: int = 256
    cwd: str | None = None
    title: str = ""


class Program(WireRecord, frozen=True, kw_only=True):
    """The stream that came in B frames is the agent's source, whole."""

    stream: int
    size: int


class Invoke(WireRecord, frozen=True, kw_only=True):
    """Enter the agent's code. For ``execute_task`` the argument is the task. ``ahead``: by how many microseconds the
    runtime's clock is ahead of the machine's."""

    id: str
    hook: str
    argument: Any = None
    task: Task | None = None
    chain: tuple[str, ...] = ()
    ahead: int = 0


class Cancel(WireRecord, frozen=True, kw_only=True):
    """Cancel an invocation."""

    id: str


class Interrupt(WireRecord, frozen=True, kw_only=True):
    """Raise in the thread that runs the invocation's synchronous code."""

    id: str


class Result(WireRecord, frozen=True, kw_only=True):
    """The answer to a call."""

    id: int
    data: Any = None
    error: ErrorRecord | None = None


class Stopping(WireRecord, frozen=True, kw_only=True):
    """``is_stopping`` is true in that invocation."""

    invocation: str | None = None


class Hold(WireRecord, frozen=True, kw_only=True):
    """Hold all invocations at their next safe point, within ``timeout`` seconds."""

    id: int
    timeout: float


class Release(WireRecord, frozen=True):
    """Let held invocations go on."""


class Listen(WireRecord, frozen=True, kw_only=True):
    """Whether the spans that end in the child are wanted; at first they are not."""

    on: bool


class Ping(WireRecord, frozen=True, kw_only=True):
    """Answer, if you can."""

    id: int


class Stop(WireRecord, frozen=True, kw_only=True):
    """Cancel what runs and end. A box ends when its task has returned and, with *drain*, what came before is handled."""

    drain: bool = True


ToGuest = (
    Preload | Assign | Program | Invoke | Cancel | Interrupt | Result | Stopping | Hold | Release | Listen | Ping | Stop
)  # fmt: skip


# -- bytes and records ---------------------------------------------------------------------------------------------


class Block(msgspec.Struct, frozen=True):
    """One B frame."""

    stream: int
    data: bytes


from_guest: msgspec.json.Decoder[Any] = msgspec.json.Decoder(FromGuest)
"""Decodes what children send."""
to_guest: msgspec.json.Decoder[Any] = msgspec.json.Decoder(ToGuest)
"""Decodes what runtimes send."""
_encoder = msgspec.json.Encoder()
T = TypeVar("T")


def encode_record(record: WireRecord) -> bytes:
    """Return *record* as one frame."""
    return frame(JSON, _encoder.encode(record))


def decode_record(kind: int, body: bytes, decoder: msgspec.json.Decoder[T]) -> T | Block:
    """Return what one frame says. Raises ProtocolError."""
    if kind == BLOCK:
        return Block(*split_block(body))
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        raise ProtocolError(f"not a frame of the protocol: {error} in {body[:80]!r}") from None
