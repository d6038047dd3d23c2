"""Shared by the Python probes: try something, say whether it got through."""

import ctypes
import os
import platform

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

X86 = platform.machine() == "x86_64"


def number(x86: int, arm: int | None = None) -> int:
    """The number of a system call here; calls since 424 have one number everywhere."""
    return x86 if X86 or arm is None else arm


def syscall(nr, *args):
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    words += [ctypes.c_long(0)] * (6 - len(words))
    result = libc.syscall(ctypes.c_long(nr), *words)
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def attempt(what, action, *args):
    """Report one attempt; an action that returns False counts as refused."""
    try:
        result = action(*args)
    except (OSError, ValueError, OverflowError, EOFError) as error:
        print("denied", what, error, flush=True)
        return None
    if result is False:
        print("denied", what, flush=True)
        return None
    print("ACHIEVED", what, repr(result)[:80], flush=True)
    return result


def done():
    print("DONE", flush=True)
