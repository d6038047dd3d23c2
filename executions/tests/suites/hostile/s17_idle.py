"""Print a line, then use no CPU: by sleep, stop, pause, an empty FIFO, a deadlock, select."""
import os
import select
import signal
import sys
import threading
import time

print("begin", flush=True)
kind = sys.argv[1]
if kind == "sleep":
    time.sleep(1000)
elif kind == "stop":
    os.kill(os.getpid(), signal.SIGSTOP)
elif kind == "pause":
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    while True:
        signal.pause()
elif kind == "fifo":
    os.mkfifo("fifo")
    open("fifo").read()
elif kind == "deadlock":
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
elif kind == "select":
    select.select([], [], [])
elif kind == "stopgroup":
    os.kill(0, signal.SIGSTOP)
elif kind == "wait":
    if os.fork() == 0:
        os.setsid()
        os.kill(os.getpid(), signal.SIGSTOP)
    os.wait()
print("ACHIEVED the end")
