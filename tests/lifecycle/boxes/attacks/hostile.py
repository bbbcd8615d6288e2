"""Run as a script in a box: takes the box's own channel, becomes a program that has nothing else of the guest, and misuses
it. Standard library only."""

from __future__ import annotations

import json
import linecache
import os
import select
import signal
import stat
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

FOR_EVER = 1000
SIXTY_FOUR_KIB = 1 << 16


def own_channel() -> int:
    """Return the descriptor that the guest has hidden away."""
    for number in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                return number
        except OSError:
            continue
    raise LookupError("there is no socket")


def put(data: bytes) -> None:
    """Write all of it, however long that takes; nothing that comes is read."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(CHANNEL, view) :]
        except BlockingIOError:
            select.select([], [CHANNEL], [])


def frame(body: bytes, kind: bytes = b"J") -> bytes:
    return struct.pack(">I", len(body)) + kind + body


def say(**record: Any) -> None:
    put(frame(json.dumps(record).encode()))


def say_raw(text: bytes) -> None:
    put(frame(text))


def hear(*types: str) -> dict[str, Any]:
    """Return the next frame of one of these types."""
    os.set_blocking(CHANNEL, True)
    while True:
        length, _ = struct.unpack(">IB", exactly(5))
        record: dict[str, Any] = json.loads(exactly(length))
        if record["type"] in types:
            return record


def exactly(size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(CHANNEL, size - len(data))
        if not piece:
            os._exit(99)
        data += piece
    return data


def stay() -> None:
    time.sleep(FOR_EVER)


def often() -> int:
    """How often something large is sent: an emulated machine takes a second for a few of them."""
    return 20 if ARGUMENT == "microvm" else 200


# -- what is no frame ----------------------------------------------------------------------------------------------


def junk() -> None:
    put(b"\xff" * 64)


def long() -> None:
    put(struct.pack(">I", 0xFFFFFFFF) + b"J")


def half() -> None:
    put(struct.pack(">I", 100) + b'J{"type":"log')
    os.close(CHANNEL)


def deep() -> None:
    put(frame(b"[" * 100_000 + b"]" * 100_000))


def deep_field() -> None:
    say_raw(b'{"type":"logrecord","text":"x","fields":{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}}")


def bad_utf8() -> None:
    say_raw(b'{"type":"logrecord","text":"\xff\xfe"}')


def unknown_type() -> None:
    say(type="fly", id=1)


def no_type() -> None:
    say(id=1)


def wrong_fields() -> None:
    say(type="send", id="one", target=7)


def other_kind() -> None:
    put(frame(b"{}", b"X"))


def second_hello() -> None:
    say(type="hello", protocol=[1, 0], guest="x", python="3.11.0", pid=1, uid=0)


def stray_stream() -> None:
    put(frame(struct.pack(">Q", 1 << 50) + b"data", b"B"))


def reused_id() -> None:
    for _ in range(2):
        say(type="send", id=5, target="sleeper", data=1)


def huge_id() -> None:
    say_raw(b'{"type":"send","id":1%s,"target":"witness","data":1}' % (b"0" * 40))


def huge_handled() -> None:
    say_raw(b'{"type":"handled","id":1%s}' % (b"0" * 5000))


def exit_deep() -> None:
    say_raw(b'{"type":"exit","code":0,"result":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def exit_bad_utf8() -> None:
    say_raw(b'{"type":"exit","code":0,"result":"\xff"}')


def exit_digits() -> None:
    say_raw(b'{"type":"exit","code":0,"result":1%s}' % (b"0" * 5000))


def exit_huge_code() -> None:
    say_raw(b'{"type":"exit","code":1%s}' % (b"0" * 40))


def many_subscriptions() -> None:
    say(type="handlers", events=[f"e{number}*" for number in range(200_000)])


# -- what is a frame, and wrong; the box lives on ------------------------------------------------------------------


def foreign_answers() -> None:
    """Answer what others were asked, answer twice, answer too deep, and then as it should be."""
    say(type="handlers", messages=True)
    message = hear("message")
    for number in range(message["id"] + 100):
        if number != message["id"]:
            say(type="reply", id=number, data="stolen")
    say(type="reply", id=message["id"], data="right")
    say(type="reply", id=message["id"], data="again")
    second = hear("message")
    say_raw(b'{"type":"reply","id":%d,"data":%s}' % (second["id"], b"[" * 200 + b"]" * 200))
    third = hear("message")
    say_raw(b'{"type":"reply","id":%d,"data":1%s}' % (third["id"], b"0" * 5000))
    fourth = hear("message")
    attributes = {"args": 1, "codes": [1], "with_traceback": 2, "faults": {}, "add_note": 3}
    fault = {"type": "BoxWaitTimeoutError", "text": "x", "notes": ["n"]}
    say(type="reply", id=fourth["id"], own=True, error={**fault, "attributes": attributes})


def forged_sender() -> None:
    """Say that a message is the host's, of another's chain, and by another agent."""
    say(type="send", id=1, target="witness", data=0, sender="host", chain=1, agent_id="host", handling=1)
    print("told", hear("answer")["data"][0], flush=True)


def digits_to_host() -> None:
    for number, target in enumerate(("host", "witness"), 1):
        say_raw(b'{"type":"send","id":%d,"target":"%s","data":1%s}' % (number, target.encode(), b"0" * 5000))
    for _ in range(2):
        print("told", (hear("answer").get("error") or {}).get("type"), flush=True)


def odd_timeouts() -> None:
    for number, timeout in enumerate((b"1e308", b"-5", b"0"), 1):
        say_raw(b'{"type":"send","id":%d,"target":"sleeper","data":1,"timeout":%s}' % (number, timeout))
    for _ in range(2):
        print("told", hear("answer")["error"]["type"], flush=True)


def long_names() -> None:
    """Names of a megabyte, of which the host keeps records."""
    for number in range(often()):
        name = str(number) * 300_000
        say(type="publish", id=2 * number, event=name)
        say(type="send", id=2 * number + 1, target=name, data=1)
        hear("answer"), hear("answer")
    print("told done", flush=True)


def long_log_streams() -> None:
    for number in range(often()):
        say(type="logrecord", text="x", stream=str(number) * 300_000)
    print("told done", flush=True)


def lives_and_dies() -> None:
    """Much of this in one life, for boxes that are slow to start: seven words, and then a number that is in use."""
    forged_sender()
    digits_to_host()
    long_log_streams()
    odd_timeouts()
    print("told last", flush=True)
    reused_id()


# -- how it ends ---------------------------------------------------------------------------------------------------


def closes() -> None:
    os.close(CHANNEL)
    stay()


def escape() -> None:
    """Leave the process group, and where there are walls the session."""
    if ARGUMENT == "process":
        os.setpgid(0, 0)
    else:
        os.setsid()


def says_exit() -> None:
    """Say that it ends, and stay, with a child."""
    if os.fork():
        say(type="exit", code=0)
    else:
        escape()
    stay()


def forks_and_leaves() -> None:
    for _ in range(3):
        if os.fork() == 0:
            escape()
            stay()
    os._exit(5)


def leaves() -> None:
    os._exit(3)


def crashes() -> None:
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGSEGV)
    stay()


def kills_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    stay()


def silent() -> None:
    """Take messages, and never read one."""
    say(type="handlers", messages=True)
    stay()


def asks() -> None:
    """Ask for a megabyte again and again, and never read an answer."""
    for number in range(1, int(ARGUMENT) + 1):
        say(type="send", id=number, target="loud", data=1 << 20)
    stay()


def floods() -> None:
    """Publish without waiting for an answer, and never read one."""
    record = frame(json.dumps({"type": "publish", "id": 1, "event": "noise", "data": "x" * 100}).encode())
    count = SIXTY_FOUR_KIB // len(record)
    for _ in range(int(ARGUMENT) // count + 1):
        put(record * count)
    print("told done", flush=True)


def floods_and_reads() -> None:
    """Publish without waiting for an answer, and throw the answers away."""
    threading.Thread(target=read_all, daemon=True).start()
    floods()


def read_all() -> None:
    while True:
        select.select([CHANNEL], [], [])
        try:
            if not os.read(CHANNEL, 1 << 20):
                os._exit(99)
        except BlockingIOError:
            continue


if __name__ == "__main__":
    if sys.argv[1] != "become":
        held = own_channel()
        os.set_inheritable(held, True)
        text = "".join(linecache.getlines(__file__))
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", text, "become", str(held), *sys.argv[1:]])
    CHANNEL, ARGUMENT = int(sys.argv[2]), [*sys.argv[4:], ""][0]
    attack: Callable[[], None] = globals()[sys.argv[3]]
    attack()
    stay()
