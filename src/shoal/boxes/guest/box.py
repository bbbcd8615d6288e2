"""A box: a program with handlers, in its main thread; everything else happens beside it."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NoReturn

from . import payload, sdk
from .codec import Record, write_error, write_record
from .commands import Commands
from .errors import BoxError, PayloadError
from .faults import clean
from .files import Files
from .frames import JSON, frame
from .handlers import Handlers
from .loops import Loops
from .outbox import Outbox, flush
from .program import Functions, Source
from .reader import Reader
from .requests import Requests
from .surroundings import limit, prepare
from .telling import exit_code, print_error
from .termination import Termination
from .waits import WAKE


def serve(channel: int, assign: Record) -> NoReturn:
    """Be the box that *assign* describes; never returns."""
    prepare(assign)
    box = Box(channel, assign)
    # After the box's own threads, which a bound on processes might refuse.
    limit(assign["rlimits"])
    sdk.enter(box)
    # What is loaded now stays for good: the collector need not walk it again.
    gc.freeze()
    box.live()


class Box:
    """One box and its parts."""

    def __init__(self, channel: int, assign: Record) -> None:
        self.name: str = assign["name"]
        self.interleave: bool = assign["interleave"]
        self.stopping = False
        self._ended = False  # by its own stop()
        self._serving = False
        self._collect: list[str] = assign["collect"]
        self._max_message: int = assign["max_message"]
        self._env: dict[str, str] = assign["env"]
        self._main = threading.get_ident()
        self._termination = Termination()
        self._outbox = Outbox(channel, self._termination)
        self.handlers = Handlers(self.name, self._outbox, self._max_message)
        self.requests = Requests(self._outbox, self._max_message, assign["in_flight"])
        self._station = self.requests.main
        self._loops = Loops(self.handlers, self._station, self.interleave)
        self.requests.handling = self
        self._commands = Commands(self._outbox, self._env)
        self._files = Files(self._outbox, assign["write"])
        self._errands: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._reader = Reader(channel, self._station.inbox, WAKE, self._termination)
        self._station.next = self._reader.next
        self._reader.actions = self._actions()
        threading.Thread(target=self._run_errands, name="shoal-errands", daemon=True).start()
        self._reader.start()

    # -- what the reader brings; the reader itself writes nothing and waits for nobody

    def _actions(self) -> dict[str, Callable[[Record], object]]:
        later = self._errands.put
        stream = self._reader.stream
        return {
            "answer": self.requests.answered,
            "message": self._came,
            "event": self._came,
            "withdraw": lambda record: later(lambda: self.handlers.withdraw(record["id"])),
            "ping": lambda record: later(lambda: self._outbox.post(write_record(type="pong", id=record["id"]))),
            "exec": self._exec,
            "execkill": lambda record: self._commands.kill(record["id"]),
            "putfile": self._put_file,
            "getfile": lambda record: later(lambda: self._files.get(record)),
            "boxprogram": lambda record: self._for_main({**record, "program": stream(record["stream"])}),
            "script": lambda record: self._for_main({**record, "program": stream(record["stream"])}),
            "stop": self._stop_asked,
            "terminate": lambda _: self._termination.raise_in_main(),
        }

    def _came(self, item: Record) -> None:
        self.handlers.waiting[item["id"]] = item
        if item.get("over") is None or not self.requests.deliver_over(item):
            self._for_main(item)

    def _for_main(self, item: Record) -> None:
        self._station.inbox.put(item)
        ring = self._loops.ring
        if ring is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just been closed
                ring()

    def _stop_asked(self, record: Record) -> None:
        self.stopping = True
        if not record["drain"]:
            self.handlers.waiting.clear()
        self._for_main(record)

    def _exec(self, record: Record) -> None:
        command = self._commands.take(record, self._reader.stream(record["id"]))
        self._errands.put(lambda: self._commands.start(command))

    def _put_file(self, record: Record) -> None:
        data = self._reader.stream(record["id"])
        self._errands.put(lambda: self._files.put(record, data))

    def _run_errands(self) -> None:
        while True:
            try:
                self._errands.get()()
            except Exception as error:  # noqa: BLE001 - the next one is to be run all the same
                print_error(error)

    # -- what its own code asks for

    def present(self) -> int | None:
        """Return the message that the calling code works on."""
        return self.handlers.present()

    def handle(self, item: Record) -> None:
        """Handle a message or an event now."""
        self._loops.handle(item)

    def admit(self, item: Record) -> None:
        """Handle a message or an event beside what runs on this loop."""
        self._loops.admit(item)

    def pass_on(self, item: Record) -> None:
        """Leave a message or an event to the loop."""
        self._for_main(item)
        self._reader.ring()

    def blocks(self) -> bool:
        """Tell whether the calling coroutine is what the box waits for."""
        return self._loops.blocks()

    def log(self, text: str, level: str, fields: dict[str, Any]) -> None:
        """Send a line of the log."""
        about = {"text": clean(str(text)), "level": clean(str(level)), "fields": fields}
        raw = payload.encode(about, "log", self._max_message)
        self._outbox.send(frame(JSON, b'{"type":"logrecord",' + raw[1:]))

    def stop(self) -> None:
        """End the loop after the present message."""
        self._ended = True
        self._for_main(WAKE)
        self._reader.ring()

    def run_forever(self) -> None:
        """Serve until stopped."""
        if threading.get_ident() != self._main:
            raise BoxError("run_forever() belongs to the main thread of a box")
        if self._serving or self.present() is not None:
            raise BoxError("run_forever(): this box serves already")
        self._serve()

    # -- its life

    def live(self) -> NoReturn:
        """Run the program, serve, and leave."""
        code, result, error = 0, b"null", None
        try:
            program = self._program()
            if program is not None:
                result = self._run(program)
        except SystemExit as leaving:
            code = exit_code(leaving)
        except BaseException as raised:  # noqa: BLE001 - it is told, and the box ends
            code, error = 1, raised
            print_error(raised)
        self._leave(self._wait_for_threads(code), result, error)

    def _program(self) -> Functions | Source | None:
        """Wait for a program that can be unpacked; None when the box is stopped before."""
        while True:
            record = self._station.next()
            if record["type"] == "stop":
                return None
            if "program" not in record:
                continue
            try:
                program = self._unpacked(record)
            except Exception as error:  # noqa: BLE001 - whatever unpacking runs into, the runtime raises it
                self._outbox.send(frame(JSON, f'{{"type":"boxready","error":{write_error(error)}}}'.encode()))
                continue
            os.environ.update(record["env"])
            self._env.update(record["env"])
            if isinstance(program, Functions):
                self.handlers.complete = True
                self.handlers.add(program.messages, program.events)
            self._outbox.send(write_record(type="boxready"))
            return program

    def _unpacked(self, record: Record) -> Functions | Source:
        packed: bytes = record.pop("program")
        if len(packed) != record["size"]:
            raise BoxError(f"{len(packed)} bytes of the program came of {record['size']}")
        if record["type"] == "script":
            return Source(packed, record["path"], record["args"])
        return Functions(packed)

    def _run(self, program: Functions | Source) -> bytes:
        value: Any = program.run()
        if hasattr(value, "__await__"):
            value = self._loops.complete(value)
        try:
            result = payload.encode(value, "result", self._max_message)
        except PayloadError:
            result = b"null"
        if isinstance(program, Functions) and self.handlers:
            self._serve()
        return result

    def _has_ended(self) -> bool:
        return self._ended or self._outbox.forked  # a forked child has nothing to serve

    def _serve(self) -> None:
        self._serving = True
        self.handlers.complete = True
        self.handlers.completed()
        try:
            while not self._has_ended():
                if self._loops.in_use:
                    self._loops.serve(self._has_ended)
                if self._has_ended():
                    return
                deferred = self._station.deferred
                item = deferred.popleft() if deferred else self._station.next()
                if item["type"] == "stop":
                    self._ended = True
                elif item["type"] in ("message", "event"):
                    self._loops.handle(item)
        finally:
            self._serving = False

    # -- its end

    def _wait_for_threads(self, code: int) -> int:
        """Wait as Python does at its end: for coroutines that were cancelled, for threads. SIGTERM ends that."""
        try:
            self._loops.close()
            if not self._termination.asked:
                threading._shutdown()  # type: ignore[attr-defined]
        except SystemExit as leaving:
            return exit_code(leaving)
        except Exception as error:  # noqa: BLE001 - the box ends all the same
            print_error(error)
        return code

    def _leave(self, code: int, result: bytes, error: BaseException | None) -> NoReturn:
        self._termination.ignore()
        atexit._run_exitfuncs()
        flush()
        if not self._outbox.forked:
            outputs = {} if self._termination.asked else self._collected()
            fields = b'"code":%d,"result":%s,"outputs":%s' % (code, result, payload.encode(outputs, "outputs", 1 << 30))
            if error is not None:
                fields += b',"error":' + write_error(error).encode()
            self._commands.kill_all()
            self._outbox.send(frame(JSON, b'{"type":"exit",%s}' % fields))
        os._exit(code)

    def _collected(self) -> dict[str, int]:
        try:
            return self._files.collect(self._collect)
        except Exception as error:  # noqa: BLE001 - the box ends all the same
            print_error(error)
            return {}
