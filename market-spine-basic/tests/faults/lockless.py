"""Run Market Spine where the kernel answers every lock on a file as a network share without locks does.

    python lockless.py ERRNO ARGUMENT...

A seccomp filter lets fcntl(2) with a locking command fail with ERRNO. Exits with 77 where no filter can be set.
"""

from __future__ import annotations

import ctypes
import platform
import runpy
import struct
import sys

ARCHES = {"x86_64": (0xC000003E, 72), "aarch64": (0xC00000B7, 25)}
"""Machine to the kernel's number for it, and fcntl's there."""
SET_LOCK = (6, 7, 37, 38)
"""F_SETLK and F_SETLKW, of the process and of the open file."""
LOAD, IF_EQUAL, ANSWER = 0x20, 0x15, 0x06
ALLOW, FAIL = 0x7FFF0000, 0x00050000
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2


def refuse_locks(number: int) -> bool:
    """Let every lock of this process fail; whether that could be brought about."""
    if platform.machine() not in ARCHES:
        return False
    machine, fcntl = ARCHES[platform.machine()]
    steps = [(LOAD, 0, 0, 4), (IF_EQUAL, 1, 0, machine), (ANSWER, 0, 0, ALLOW)]
    steps += [(LOAD, 0, 0, 0), (IF_EQUAL, 1, 0, fcntl), (ANSWER, 0, 0, ALLOW), (LOAD, 0, 0, 24)]
    steps += [(IF_EQUAL, len(SET_LOCK) - place, 0, command) for place, command in enumerate(SET_LOCK)]
    steps += [(ANSWER, 0, 0, ALLOW), (ANSWER, 0, 0, FAIL | number)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    return not libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) and not libc.prctl(SECCOMP, FILTER, program, 0, 0)


if __name__ == "__main__":
    if not refuse_locks(int(sys.argv.pop(1))):
        sys.exit(77)
    runpy.run_module("market_spine", run_name="__main__", alter_sys=True)
