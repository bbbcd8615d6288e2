"""The records between a virtual machine and its relay, and the relay itself before a machine that is a script."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import shoal.boxes
from shoal.boxes.guest import vmwire
from shoal.boxes.guest.vmwire import BrokenWire, Records, record

RELAY = Path(shoal.boxes.__file__).with_name("vmrelay.py")
KINDS = [vmwire.CHANNEL, vmwire.SETUP, vmwire.SIGNAL, vmwire.BOOTED, vmwire.STDOUT, vmwire.STDERR, vmwire.EXIT]


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.binary(max_size=40))), st.lists(st.integers(1, 30)))
def test_any_pieces_give_the_records(sent: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = b"".join(record(kind, body) for kind, body in sent)
    records = Records()
    found = []
    for cut in cuts:
        found += records.feed(data[:cut])
        data = data[cut:]
    assert [*found, *records.feed(data)] == sent


@given(st.binary(max_size=60))
def test_any_bytes_give_records_or_are_refused(data: bytes) -> None:
    try:
        found = Records().feed(data)
    except BrokenWire:
        return
    assert all(kind in KINDS and len(body) < len(data) for kind, body in found)


def test_a_length_that_nobody_sends_is_refused_at_once() -> None:
    with pytest.raises(BrokenWire, match="4294967295"):
        Records().feed(b"c\xff\xff\xff\xff")


# -- the relay

MACHINE = """
import json, os, signal, socket, sys
from shoal.boxes.guest import vmwire
from shoal.boxes.guest.vmwire import record
port = socket.socket(fileno=int(sys.argv[1]))
records = vmwire.Records()
waiting = []
def hear(*kinds):
    while True:
        while waiting:
            kind, body = waiting.pop(0)
            if kind in kinds:
                return kind, body
        data = port.recv(65536)
        if not data:
            sys.exit(9)
        waiting.extend(records.feed(data))
def say(kind, body=b""):
    port.sendall(record(kind, body))
"""


class Relayed:
    """A relay, with what the runtime would hold of it."""

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket, directory: Path) -> None:
        self.process = process
        self.channel = channel
        self.directory = directory

    def end(self) -> tuple[int, bytes, bytes]:
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@contextmanager
def relayed(tmp_path: Path, script: str) -> Iterator[Relayed]:
    (tmp_path / "machine.py").write_text(MACHINE + textwrap.dedent(script))
    setup = tmp_path / "setup.json"
    setup.write_text(json.dumps({"env": {"A": "b"}}))
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-I", "-S", str(RELAY), str(os.getpid()), str(setup)]
    with ours:
        with theirs:
            process = subprocess.Popen(
                [*command, sys.executable, str(tmp_path / "machine.py"), "{port}"],
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        with process:
            try:
                ours.settimeout(30)
                yield Relayed(process, ours, tmp_path)
            finally:
                process.kill()


def read(channel: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size and (piece := channel.recv(size - len(found))):
        found += piece
    return bytes(found)


def test_setup_channel_output_and_exit(tmp_path: Path) -> None:
    script = """
        say(vmwire.BOOTED)
        setup = json.loads(hear(vmwire.SETUP)[1])
        say(vmwire.STDOUT, json.dumps(setup).encode())
        say(vmwire.STDERR, b"error")
        say(vmwire.CHANNEL, hear(vmwire.CHANNEL)[1].upper())
        print("of the kernel", flush=True)
        say(vmwire.EXIT, bytes([7, 0]))
        signal.pause()
    """
    with relayed(tmp_path, script) as relay:
        relay.channel.sendall(b"hello")
        assert read(relay.channel, 5) == b"HELLO"
        code, out, err = relay.end()
    assert (code, err) == (7, b"error")
    setup = json.loads(out)
    assert setup["env"] == {"A": "b"} and abs(setup["time"] - time.time()) < 60 and len(setup["seed"]) == 88
    assert not (tmp_path / "setup.json").exists(), "it may hold secrets"
    assert not (tmp_path / "oom").exists()


def test_a_machine_that_ends_without_a_word_leaves_the_end_of_its_console(tmp_path: Path) -> None:
    with relayed(tmp_path, "print('x' * 20_000 + ' no such disk\\r'); sys.exit(3)") as relay:
        code, out, err = relay.end()
    assert (code, out) == (3, b"")
    assert b"exit code 3" in err and err.endswith(b"no such disk\n") and len(err) < 9000


def test_a_panic_for_memory_is_told_as_such(tmp_path: Path) -> None:
    with relayed(tmp_path, "print('Kernel panic - not syncing: Out of memory: ...')") as relay:
        assert relay.end() == (128 + signal.SIGKILL, b"", b"")
    assert (tmp_path / "oom").exists()


def test_a_box_that_was_out_of_memory_is_told_as_such(tmp_path: Path) -> None:
    with relayed(tmp_path, "say(vmwire.EXIT, bytes([137, 1])); signal.pause()") as relay:
        assert relay.end()[0] == 137
    assert (tmp_path / "oom").exists()


@pytest.mark.parametrize("words", ["b'junk' * 10", "record(vmwire.EXIT, b'')", "b'c\\\\xff\\\\xff\\\\xff\\\\xff'"])
def test_what_is_no_record_ends_the_machine(tmp_path: Path, words: str) -> None:
    with relayed(tmp_path, f"port.sendall({words}); signal.pause()") as relay:
        code, _, err = relay.end()
    assert code == 1 and b"another language" in err


def test_signals_are_carried(tmp_path: Path) -> None:
    script = """
        say(vmwire.BOOTED)
        hear(vmwire.SETUP)
        say(vmwire.CHANNEL, b"ready")
        numbers = [hear(vmwire.SIGNAL)[1][0] for _ in range(2)]
        say(vmwire.STDOUT, repr(sorted(numbers)).encode())
        say(vmwire.EXIT, bytes([0, 0]))
    """
    with relayed(tmp_path, script) as relay:
        assert read(relay.channel, 5) == b"ready"
        for number in (signal.SIGTERM, signal.SIGUSR1):
            relay.process.send_signal(number)
        assert relay.end() == (0, repr(sorted([signal.SIGTERM.value, signal.SIGUSR1.value])).encode(), b"")


def test_the_end_of_the_channel_is_told_to_both_sides(tmp_path: Path) -> None:
    script = """
        say(vmwire.BOOTED)
        hear(vmwire.SETUP)
        say(vmwire.CHANNEL, b"last")
        say(vmwire.CHANNEL)
        assert hear(vmwire.CHANNEL)[1] == b""
        say(vmwire.EXIT, bytes([70, 0]))
    """
    with relayed(tmp_path, script) as relay:
        assert read(relay.channel, 100) == b"last"
        relay.channel.close()
        assert relay.end()[0] == 70


def test_a_runtime_that_does_not_read_stops_the_machine_and_not_its_output(tmp_path: Path) -> None:
    script = """
        say(vmwire.BOOTED)
        hear(vmwire.SETUP)
        for n in range(8):
            say(vmwire.CHANNEL, bytes(1 << 20))
        say(vmwire.STDOUT, b"printed")
        for n in range(24):
            say(vmwire.CHANNEL, bytes(1 << 20))
        say(vmwire.EXIT, bytes([0, 0]))
    """
    with relayed(tmp_path, script) as relay:
        assert relay.process.stdout is not None
        assert relay.process.stdout.read(7) == b"printed", "while 8 MiB of the channel lie unread"
        assert resident(relay.process.pid) < 80 << 20
        assert len(read(relay.channel, 32 << 20)) == 32 << 20
        assert relay.end()[0] == 0


def test_last_words_reach_a_runtime_that_is_still_sending(tmp_path: Path) -> None:
    script = """
        say(vmwire.BOOTED)
        hear(vmwire.SETUP)
        for n in range(4):
            say(vmwire.CHANNEL, bytes(1 << 20))
        say(vmwire.EXIT, bytes([5, 0]))
    """
    with relayed(tmp_path, script) as relay:
        relay.channel.sendall(bytes(8 << 20))
        assert len(read(relay.channel, 4 << 20)) == 4 << 20
        assert relay.end()[0] == 5


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
