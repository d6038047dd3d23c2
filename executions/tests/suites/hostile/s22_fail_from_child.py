"""The main process fails; a child goes on and prints success."""
import os
import sys
import time

if os.fork() == 0:
    time.sleep(0.3)
    print("ok, exit code 0")
    os._exit(0)
os._exit(4)
