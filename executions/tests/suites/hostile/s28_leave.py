"""Leave traces wherever the next run might look."""
import ctypes
import glob
import mmap
import os
import site
import socket
import sys

mark = "left-" + sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
home = os.environ.get("HOME", "/tmp")
user_site = site.getusersitepackages()
for folder in (os.getcwd(), "/tmp", "/var/tmp", "/dev/shm", "/run/lock", "/var/lock", home, user_site, home + "/.cache/go-build", home + "/.config", "__pycache__", "/dev/mqueue"):
    try:
        os.makedirs(folder, exist_ok=True)
        for name in (mark, "." + mark, "usercustomize.py", "sitecustomize.py", "probe.py", ".bashrc", ".profile", ".pythonrc", ".npmrc", "json.py", "main.py.bak"):
            with open(os.path.join(folder, name), "w") as file:
                file.write(f"print('ACHIEVED {mark}')\n")
    except OSError as error:
        print("not in", folder, error.strerror)
key = int(sys.argv[1][:7], 16)
print("shm", libc.shmget(key, 4096, 0o1666), "msg", libc.msgget(key, 0o1666), "sem", libc.semget(key, 1, 0o1666))
try:
    librt = ctypes.CDLL("librt.so.1", use_errno=True)
    print("mq", librt.mq_open(f"/{mark}".encode(), 0o102, 0o666, None))
except (OSError, AttributeError) as error:
    print("no mq", error)
with socket.socket(socket.AF_UNIX) as sock:
    sock.bind("\0" + mark)
print("key", libc.syscall(248, b"user", mark.encode(), b"x", 1, -4))
for path in ("/usr/lib/python3", "/usr/lib/node_modules", "/usr/local/lib"):
    for found in glob.glob(path):
        try:
            open(os.path.join(found, mark), "w").close()
            print("ACHIEVED a file in", found)
        except OSError:
            pass
print("DONE")
