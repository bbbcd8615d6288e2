"""The system calls that a box of level ``bubblewrap`` may not make, as a program for the kernel's filter.

What is not named here is allowed: the walls are the namespaces, and the filter takes away the calls with which walls of
this kind have been broken.
"""

from __future__ import annotations

import errno
import functools
import os
import socket
import tempfile
from types import ModuleType

from shoal.errors import MissingExtraError

__all__ = ["filter_fd", "filter_program"]

_CLONE_NEW = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
"""The flags of ``clone`` that make a namespace: mount, cgroup, uts, ipc, user, pid, network."""
_TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX put words into the mouth of a terminal
_LOW_32 = 0xFFFFFFFF  # the kernel looks at no more of an ioctl's number

_CALLS = """
    mount umount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr
    unshare setns ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd kcmp
    bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register
    add_key request_key keyctl init_module finit_module delete_module kexec_load kexec_file_load
    reboot syslog swapon swapoff acct quotactl quotactl_fd open_by_handle_at name_to_handle_at fanotify_init
    clock_settime clock_adjtime settimeofday adjtimex sethostname setdomainname iopl ioperm personality
    lookup_dcookie vhangup
"""
_REFUSED = _CALLS.split()
_LATER = {"open_tree_attr": 467}  # calls that libraries of today do not know by name; one number on every machine


def filter_fd(network: bool) -> int:
    """Return a memory file with the filter, for one start. Raises MissingExtraError."""
    program = filter_program(network)
    fd = os.memfd_create("seccomp")
    os.write(fd, program)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


@functools.cache
def filter_program(network: bool) -> bytes:
    """Return the filter; with *network* it lets Internet sockets through. Raises MissingExtraError."""
    seccomp = _library()
    refused = seccomp.ERRNO(errno.EPERM)
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    rules.set_attr(seccomp.Attr.ACT_BADARCH, seccomp.KILL_PROCESS)
    for name in _REFUSED:
        if seccomp.resolve_syscall(seccomp.system_arch(), name) != -1:  # this machine has such a call
            rules.add_rule(refused, name)
    for number in _LATER.values():
        rules.add_rule(refused, number)
    for flag in _CLONE_NEW:
        rules.add_rule(refused, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, flag, flag))
    for number in _TERMINAL_INPUT:
        rules.add_rule(refused, "ioctl", seccomp.Arg(1, seccomp.MASKED_EQ, _LOW_32, number))
    # Its flags lie in memory, where a filter cannot look; the C library then takes clone.
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    _refuse_sockets(seccomp, rules, network)
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def _refuse_sockets(seccomp: ModuleType, rules: object, network: bool) -> None:
    families = {socket.AF_UNIX, *((socket.AF_INET, socket.AF_INET6) if network else ())}
    last = max(families)
    none = seccomp.ERRNO(errno.EAFNOSUPPORT)
    for call in ("socket", "socketpair"):
        rules.add_rule(none, call, seccomp.Arg(0, seccomp.GT, last))  # type: ignore[attr-defined]
        for family in range(last):
            if family not in families:
                rules.add_rule(none, call, seccomp.Arg(0, seccomp.EQ, family))  # type: ignore[attr-defined]


def _library() -> ModuleType:
    try:
        import pyseccomp
    except (ImportError, RuntimeError) as error:  # RuntimeError: the C library is not there
        raise MissingExtraError("boxes", f"the system call filter of level bubblewrap ({error})") from error
    module: ModuleType = pyseccomp
    return module
