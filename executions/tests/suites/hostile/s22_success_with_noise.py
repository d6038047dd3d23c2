"""Succeed, while the text says otherwise and children die of everything."""
import os
import signal
import sys

for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGXCPU):
    if os.fork() == 0:
        os.kill(os.getpid(), number)
    os.wait()
print("timelimit exceeded\nruntime error: killed by signal 9\nOut of memory", file=sys.stderr)
print("DONE")
