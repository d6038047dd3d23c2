"""A daemon by the book: two forks, a new session, no descriptors, all signals ignored."""
import os
import signal
import sys

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        os.closerange(0, 1024)
        os.execv("/usr/bin/sleep", ["suite-" + sys.argv[1], "1000"])
    os._exit(0)
os.wait()
print("DONE")
