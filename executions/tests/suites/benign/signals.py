"""Handlers, alarms, timers, a child that is killed."""
import os
import signal
import subprocess
import time

got = []
signal.signal(signal.SIGUSR1, lambda *_: got.append("usr1"))
signal.signal(signal.SIGALRM, lambda *_: got.append("alarm"))
os.kill(os.getpid(), signal.SIGUSR1)
signal.setitimer(signal.ITIMER_REAL, 0.05)
time.sleep(0.2)
print(got)
child = subprocess.Popen(["sleep", "100"])
child.terminate()
print(child.wait())
