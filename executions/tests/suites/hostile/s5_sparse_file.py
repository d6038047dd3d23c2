"""A sparse file of 1 TiB, then one as large as allowed."""
import os
import signal

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
fd = os.open("sparse", os.O_RDWR | os.O_CREAT)
for size in (1 << 40, 1 << 35, 1 << 31):
    try:
        os.ftruncate(fd, size)
        print("ACHIEVED a file of", size)
    except OSError as error:
        print("denied", size, error.strerror)
try:
    os.posix_fallocate(fd, 0, 1 << 37)
    print("ACHIEVED fallocate")
except OSError as error:
    print("denied fallocate", error.strerror)
print("DONE")
