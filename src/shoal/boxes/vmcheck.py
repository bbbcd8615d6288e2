"""What a virtual machine needs to know of this processor: ``python -I -S vmcheck.py``. Standard library only.

Prints JSON: ``tsc_khz`` (how fast its time stamp counter runs) and ``kvm_ms`` (how long KVM takes for a loop of 20,000
rounds; a processor's own virtualization takes well under a millisecond) or ``kvm_fault``. It may hang where KVM does: who
starts it bounds its time.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import struct
import time

_READ_COUNTER = bytes.fromhex("0f31 48c1e220 4809d0 c3")  # rdtsc; shl rdx, 32; or rax, rdx; ret
_LOOP = bytes.fromhex("b9204e 49 75fd f4")  # mov cx, 20000; dec cx; jnz; hlt, in real mode
_MEASURE = 0.02  # seconds
_PAGE = 0x1000
_HALTED = 5
_CREATE_VM, _CREATE_VCPU, _VCPU_SIZE, _RUN = 0xAE01, 0xAE41, 0xAE04, 0xAE80
_SET_MEMORY, _SET_REGISTERS, _GET_SEGMENTS, _SET_SEGMENTS = 0x4020AE46, 0x4090AE82, 0x8138AE83, 0x4138AE84


def tsc_khz() -> int:
    """Return the rate of the time stamp counter, measured against the kernel's clock."""
    with mmap.mmap(-1, _PAGE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page.write(_READ_COUNTER)
        start = ctypes.c_char.from_buffer(page)
        counter = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(start))
        first, began = counter(), time.perf_counter_ns()
        time.sleep(_MEASURE)
        last, ended = counter(), time.perf_counter_ns()
        del counter, start  # they hold the page
    return int((last - first) * 1_000_000 // (ended - began))


def kvm_ms() -> float:
    """Return the milliseconds that KVM takes for the loop. Raises OSError."""
    kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    machine = fcntl.ioctl(kvm, _CREATE_VM, 0)
    memory = mmap.mmap(-1, _PAGE)
    memory.write(_LOOP)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(machine, _SET_MEMORY, struct.pack("=IIQQQ", 0, 0, _PAGE, _PAGE, address))
    processor = fcntl.ioctl(machine, _CREATE_VCPU, 0)
    state = mmap.mmap(processor, fcntl.ioctl(kvm, _VCPU_SIZE, 0))
    segments = bytearray(312)
    fcntl.ioctl(processor, _GET_SEGMENTS, segments)
    struct.pack_into("=QIH", segments, 0, 0, 0xFFFF, 0)  # the code segment begins at 0
    fcntl.ioctl(processor, _SET_SEGMENTS, segments)
    registers = struct.pack("=18Q", *[0] * 16, _PAGE, 2)  # rip, rflags
    fcntl.ioctl(processor, _SET_REGISTERS, registers)
    began = time.perf_counter()
    fcntl.ioctl(processor, _RUN, 0)
    took = time.perf_counter() - began
    (reason,) = struct.unpack_from("=I", state, 8)
    if reason != _HALTED:
        raise OSError(f"the loop ended with {reason}")
    return took * 1000


def main() -> None:
    """Print what was found."""
    found: dict[str, object] = {"tsc_khz": tsc_khz()}
    print(json.dumps(found), flush=True)  # the rest may never come
    try:
        found["kvm_ms"] = round(kvm_ms(), 3)
    except OSError as error:
        found["kvm_fault"] = str(error)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
