"""Many processes, each smaller than PID 1 and no worse to the kernel's OOM killer."""

import os
import sys
import time

nonce, share, number = sys.argv[1], int(sys.argv[2]) << 20, int(sys.argv[3])
print("began", nonce, flush=True)
with open("/proc/1/oom_score_adj") as file:
    of_init = file.read()
# No right is needed to go back to what the container was given, or below.
for score in ("0", of_init):
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(score)
        break
    except OSError:
        pass
# What the agent has not told when it is killed, nobody will.
time.sleep(1)
for _ in range(number):
    if os.fork() == 0:
        block = bytearray(share)
        for at in range(0, share, 4096):
            block[at] = 1
        time.sleep(30)
        os._exit(0)
time.sleep(30)
