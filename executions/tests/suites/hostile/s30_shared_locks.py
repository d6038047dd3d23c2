"""Locks on files that all sandboxes share would be a channel, and a way to block others."""
import fcntl
import os
import resource
import sys

for path in (sys.executable, "/usr/bin/env", "/etc/passwd", "/usr", "/"):
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        continue
    for what, action in {
        "flock": lambda: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB),
        "lease": lambda: fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK),
    }.items():
        try:
            action()
            print("shared lock:", what, path)
        except OSError as error:
            print("denied", what, path, error.strerror)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
print("ACHIEVED many descriptors" if hard > 1024 else "denied", hard)
print("DONE")
