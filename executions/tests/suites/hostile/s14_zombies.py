"""Children that end at once and are never waited for."""
import os
import sys

made = 0
while made < 10_000:
    try:
        if os.fork() == 0:
            os._exit(0)
    except OSError as error:
        print("refused", error.strerror)
        break
    made += 1
print("ACHIEVED" if made > int(sys.argv[1]) else "denied", made)
print("DONE")
