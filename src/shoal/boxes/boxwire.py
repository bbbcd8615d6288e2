"""The frames of a box: code that was put into it by ``BoxRuntime``, beside those every child speaks (``wire.py``).

A box is greeted as any child (``hello``), becomes one by ``assignbox``, gets its code by ``boxprogram`` or ``script``, and
ends with ``exit``. Streams of bytes go in B frames, and a record that names the stream follows when it is whole.

Bytes of streams, from the host: programs, scripts, files, stdin of commands. From the box: files that were asked for,
outputs, and what commands print: stream ``2 * id`` is stdout and ``2 * id + 1`` stderr of the command ``id``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from shoal.boxes.wire import NOTHING, ErrorRecord, Hello, Loaded, Number, Ping, Pong, Preload, Stop, WireRecord

__all__ = [
    "Answer",
    "AssignBox",
    "BoxProgram",
    "BoxReady",
    "Event",
    "Exec",
    "ExecEnd",
    "ExecKill",
    "Exit",
    "File",
    "FromBox",
    "GetFile",
    "Handled",
    "Handlers",
    "LogRecord",
    "Message",
    "Publish",
    "PutFile",
    "Reply",
    "Script",
    "Send",
    "Terminate",
    "ToBox",
    "Withdraw",
    "from_box",
    "to_box",
]


# -- from the box --------------------------------------------------------------------------------------------------


class BoxReady(WireRecord, frozen=True, kw_only=True):
    """The program is unpacked and its handlers are known (``handlers`` came before), or ``error`` says why not.

    For a script: it is about to begin.
    """

    error: ErrorRecord | None = None


class Handlers(WireRecord, frozen=True, kw_only=True):
    """What it takes from now on: messages or not, and events by name (``prefix*`` is any name that begins so).

    ``complete``: nothing more is to be expected, so what came is handed over, and messages without a handler are refused.
    """

    messages: bool = False
    events: tuple[str, ...] = ()
    complete: bool = True


class Send(WireRecord, frozen=True, kw_only=True):
    """A request of the box: the answer is ``answer`` with the same ``id``.

    ``handling`` is the message that the sending code works on, None in a task or a thread of its own. ``blocks`` tells
    whether the box handles nothing else until the answer is there: it was sent by its main thread, not by another thread
    and not by a coroutine beside others. ``timeout`` is in seconds, None for none.
    """

    id: Number
    target: str
    data: msgspec.Raw = NOTHING
    timeout: float | None = 30.0
    handling: Number | None = None
    blocks: bool = True


class Publish(WireRecord, frozen=True, kw_only=True):
    """An event of the box; ``answer`` has the number of subscribers that took it."""

    id: Number
    event: str
    data: msgspec.Raw = NOTHING
    handling: Number | None = None


class Reply(WireRecord, frozen=True, kw_only=True):
    """The answer to message ``id``, which is handled with it: a value or what the handler raised.

    ``own``: the error is not the handler's but the library's about this message (its answer is not JSON, it is nested too
    deep), and reaches the asker as it is.
    """

    id: Number
    data: msgspec.Raw = NOTHING
    error: ErrorRecord | None = None
    own: bool = False


class Handled(WireRecord, frozen=True, kw_only=True):
    """Event ``id`` is handled; ``error`` is what its handlers raised, the first of them."""

    id: Number
    error: ErrorRecord | None = None


class LogRecord(WireRecord, frozen=True, kw_only=True):
    """A line of its log. In a VM, also what it printed: then ``stream`` is stdout or stderr and ``text`` any piece."""

    text: str
    level: str = "info"
    stream: str = "log"
    fields: dict[str, Any] = msgspec.field(default_factory=dict)


class ExecEnd(WireRecord, frozen=True, kw_only=True):
    """A command has ended and its streams are whole; ``error`` when it could not be started."""

    id: Number
    exit_code: Number = 0
    truncated: bool = False
    error: ErrorRecord | None = None


class File(WireRecord, frozen=True, kw_only=True):
    """The answer to ``putfile`` and ``getfile``; ``size`` bytes came as stream ``id``."""

    id: Number
    size: Number = 0
    error: ErrorRecord | None = None


class Exit(WireRecord, frozen=True, kw_only=True):
    """The last frame: the program has ended. ``outputs`` maps collected paths to streams that came before.

    ``error`` is what the task raised; ``result`` its value when that is JSON.
    """

    code: Number
    result: msgspec.Raw = NOTHING
    outputs: dict[str, Number] = msgspec.field(default_factory=dict)
    error: ErrorRecord | None = None


FromBox = (
    Hello | Loaded | BoxReady | Handlers | Send | Publish | Reply | Handled | LogRecord | ExecEnd | File | Pong | Exit
)


# -- to the box ----------------------------------------------------------------------------------------------------


class AssignBox(WireRecord, frozen=True, kw_only=True):
    """Who the child is from now on.

    ``path`` is what to import from, ``env`` and ``cwd`` what the program finds; ``rlimits`` maps names as ``nofile`` to
    numbers. ``max_message`` is in bytes. ``write`` lists the directories below which files may be put and read.
    """

    name: str
    path: tuple[str, ...] = ()
    env: dict[str, str] = msgspec.field(default_factory=dict)
    cwd: str | None = None
    rlimits: dict[str, int] = msgspec.field(default_factory=dict)
    max_message: int = 10 * 1024 * 1024
    in_flight: int = 256
    interleave: bool = False
    write: tuple[str, ...] = ("/work", "/tmp")
    collect: tuple[str, ...] = ()


class BoxProgram(WireRecord, frozen=True, kw_only=True):
    """The stream is the program, whole: a cloudpickle of ``{"task", "messages", "events"}`` (function or None, a list, a
    list of (name, function))."""

    stream: int
    size: int
    env: dict[str, str] = msgspec.field(default_factory=dict)


class Script(WireRecord, frozen=True, kw_only=True):
    """The stream is a Python source to run as ``__main__`` under the name ``path`` with ``args``."""

    stream: int
    size: int
    path: str
    args: tuple[str, ...] = ()
    env: dict[str, str] = msgspec.field(default_factory=dict)


class Message(WireRecord, frozen=True, kw_only=True):
    """A message to handle. ``over``: on top of the wait for the answer to that request, at once; None: in its turn."""

    id: int
    sender: str
    data: msgspec.Raw = NOTHING
    over: int | None = None


class Event(WireRecord, frozen=True, kw_only=True):
    """An event to handle, in its turn with the messages."""

    id: int
    sender: str
    event: str
    data: msgspec.Raw = NOTHING
    over: int | None = None


class Answer(WireRecord, frozen=True, kw_only=True):
    """The answer to ``send`` or ``publish``."""

    id: int
    data: msgspec.Raw = NOTHING
    error: ErrorRecord | None = None


class Withdraw(WireRecord, frozen=True, kw_only=True):
    """Whoever sent message ``id`` waits no more. If it has not begun it is dropped, and ``reply`` says so by a
    ``ResponseTimeoutError``; else it goes on."""

    id: int


class Exec(WireRecord, frozen=True, kw_only=True):
    """Run a command beside the program, in a process group of its own. ``stdin`` bytes came as stream ``id``."""

    id: int
    command: tuple[str, ...]
    env: dict[str, str] = msgspec.field(default_factory=dict)
    cwd: str | None = None
    max_output: int = 1024 * 1024


class ExecKill(WireRecord, frozen=True, kw_only=True):
    """End the command and all of its process group."""

    id: int


class PutFile(WireRecord, frozen=True, kw_only=True):
    """Write ``size`` bytes of stream ``id`` to ``path``, whole or not at all."""

    id: int
    path: str
    size: int


class GetFile(WireRecord, frozen=True, kw_only=True):
    """Send what is in ``path``, at most ``limit`` bytes."""

    id: int
    path: str
    limit: int


class Terminate(WireRecord, frozen=True):
    """Raise SIGTERM in the program, whatever it does."""


ToBox = (
    Preload
    | AssignBox
    | BoxProgram
    | Script
    | Message
    | Event
    | Answer
    | Withdraw
    | Exec
    | ExecKill
    | PutFile
    | GetFile
    | Ping
    | Stop
    | Terminate
)

from_box: msgspec.json.Decoder[Any] = msgspec.json.Decoder(FromBox)
"""Decodes what boxes send."""
to_box: msgspec.json.Decoder[Any] = msgspec.json.Decoder(ToBox)
"""Decodes what runtimes send to boxes; the guest itself reads them with the standard library only."""
