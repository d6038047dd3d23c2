"""A subreaper that collects orphans, and is itself orphaned."""
import ctypes
import os
import sys
import time

ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
ctypes.CDLL(None).prctl(15, sys.argv[1].encode(), 0, 0, 0)
for _ in range(5):
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            time.sleep(1000)
        os._exit(0)
if os.fork() == 0:
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    os.setsid()
    time.sleep(1000)
print("DONE", flush=True)
os._exit(0)
