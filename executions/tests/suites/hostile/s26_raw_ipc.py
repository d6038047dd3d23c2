"""System V and POSIX message queues and segments of the host."""
import ctypes
import os
import sys

from probe import attempt, libc

key, shm, msg = (int(text) for text in sys.argv[1:4])
libc.shmat.restype = ctypes.c_void_p
attempt("shmget", lambda: libc.shmget(key, 0, 0) >= 0)
attempt("msgget", lambda: libc.msgget(key, 0) >= 0)
attempt("shmat", lambda: libc.shmat(shm, None, 0o10000) not in (None, 2**64 - 1))
attempt("shmctl", lambda: libc.shmctl(shm, 2, ctypes.create_string_buffer(256)) == 0)
attempt("msgctl", lambda: libc.msgctl(msg, 2, ctypes.create_string_buffer(256)) == 0)
attempt("msgsnd", lambda: libc.msgsnd(msg, ctypes.create_string_buffer(b"\1" + bytes(15)), 8, 0o4000) == 0)
for kind in ("shm", "msg", "sem"):
    lines = open(f"/proc/sysvipc/{kind}").read().splitlines()[1:]
    if lines:
        print("ACHIEVED seeing", kind, lines)
attempt("remove segment", lambda: libc.shmctl(shm, 0, None) == 0)
print("DONE")
