"""Look for what another run left; everything must be as on the first day."""
import ctypes
import os
import socket
import sys

mark = "left-" + sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
for folder, names, files in os.walk("/"):
    if folder == "/":
        names[:] = [n for n in names if n not in ("proc", "sys", "usr")]
    for name in [*names, *files]:
        if sys.argv[1] in name:
            print("ACHIEVED finding", folder, name)
for folder in ("/tmp", "/var/tmp", "/dev/shm", os.environ.get("HOME", "/tmp")):
    extra = [n for n in os.listdir(folder) if n not in ("main.py", "probe.py", "__pycache__")]
    here = os.path.realpath(folder) == os.path.realpath(os.getcwd())
    if not here and [n for n in extra if not os.path.isdir(os.path.join(folder, n))]:
        print("ACHIEVED finding something in", folder, extra)
key = int(sys.argv[1][:7], 16)
for name in ("shm", "msg", "sem"):
    if len(open(f"/proc/sysvipc/{name}").read().splitlines()) > 1:
        print("ACHIEVED finding System V", name)
if libc.shmget(key, 0, 0) >= 0:
    print("ACHIEVED finding a segment")
with socket.socket(socket.AF_UNIX) as sock:
    try:
        sock.connect("\0" + mark)
        print("ACHIEVED finding a socket")
    except OSError:
        pass
if libc.syscall(249, b"user", mark.encode(), None, 0) >= 0:
    print("ACHIEVED finding a key")
for name in sys.modules:
    if "customize" in name and name == "usercustomize":
        print("ACHIEVED loading", name)
print("DONE")
