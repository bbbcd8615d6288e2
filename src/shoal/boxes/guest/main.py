"""The first code of a child: ``python -I -S main.py PARENT_PID set|unset [CHANNEL]``. Standard library only, little of it.

PARENT_PID 0: the parent is in another pid namespace and cannot be looked for. The second argument tells whether the
launcher has set the parent-death signal. CHANNEL is the descriptor of the channel, 0 unless given.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys

OWN_CHANNEL = 100  # the lowest number for the channel, out of the way of what user code opens
PROTOCOL = (1, 0)
PARENT_GONE = 70


def take_channel(fd: int) -> int:
    """Move the channel away from *fd* and point fd 0 at nothing, so that no reader of stdin can touch it."""
    channel = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, OWN_CHANNEL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if fd:
        os.close(fd)
    return channel


def die_with_parent(parent: int) -> None:
    """Leave at once if the parent is gone already; what comes later, the death signal and the channel tell."""
    if parent and os.getppid() != parent:
        os._exit(PARENT_GONE)


def ask_for_death_signal() -> None:
    """Have the kernel kill this process when its parent ends (prctl PR_SET_PDEATHSIG), where no launcher did so."""
    import ctypes
    import signal

    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))


def say_hello(channel: int) -> None:
    """Send the first frame, written by hand: importing json takes as long as starting Python."""
    python = ".".join(map(str, sys.version_info[:3]))
    hello = f'"protocol":{[*PROTOCOL]},"guest":"shoal","python":"{python}","pid":{os.getpid()},"uid":{os.getuid()}'
    body = f'{{"type":"hello",{hello},{what_the_kernel_says()}}}'.encode()
    os.write(channel, struct.pack(">IB", len(body), ord("J")) + body)


def what_the_kernel_says() -> str:
    """Return which rights this process has and whether its calls are filtered, so that the runtime sees the walls stand."""
    try:
        status = os.open("/proc/self/status", os.O_RDONLY)
        words = os.read(status, 8192).decode("ascii", "replace").split()
        os.close(status)
    except OSError:
        words = []
    said = {name: words[words.index(name) + 1] for name in ("CapEff:", "Seccomp:") if name in words}
    return f'"capabilities":"{said.get("CapEff:", "")}","seccomp":{said.get("Seccomp:", "null")}'


def name_guest(directory: str) -> None:
    """Make this directory one package under the two names that programs import it by."""
    from importlib.util import module_from_spec, spec_from_file_location

    place = os.path.join(directory, "__init__.py")
    spec = spec_from_file_location("shoal_guest", place, submodule_search_locations=[directory])
    assert spec is not None and spec.loader is not None
    package = module_from_spec(spec)
    sys.modules["shoal_guest"] = sys.modules["boxlite_runtime"] = package
    spec.loader.exec_module(package)


def main() -> None:
    """Say hello, then become what the runtime wants."""
    parent, death_signal = int(sys.argv[1]), sys.argv[2] == "set"
    channel = take_channel(int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    if not death_signal:
        ask_for_death_signal()
    die_with_parent(parent)
    say_hello(channel)
    name_guest(os.path.dirname(os.path.abspath(__file__)))
    from importlib import import_module

    import_module("shoal_guest.start").start(channel)


if __name__ == "__main__":
    main()
