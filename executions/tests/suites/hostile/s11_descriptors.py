"""What is open in a fresh interpreter, also one that was started ahead."""
import fcntl
import os

for fd in range(3, 4096):
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        continue
    print("ACHIEVED descriptor", fd, os.readlink(f"/proc/self/fd/{fd}"))
for fd in range(3):
    target = os.readlink(f"/proc/self/fd/{fd}")
    if not target.startswith("pipe:") and target != "/dev/null":
        print("ACHIEVED", fd, target)
print("DONE")
