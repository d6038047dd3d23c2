"""Look for the peer that is running now: files, processes, sockets, segments."""
import glob
import os
import socket
import sys
import time

mark = "peer-" + sys.argv[1]
end = time.monotonic() + 1.5
while time.monotonic() < end:
    for folder, names, files in os.walk("/"):
        if folder == "/":
            names[:] = [n for n in names if n not in ("proc", "sys", "usr", "lib")]
        for name in [*names, *files]:
            if name.startswith("peer-"):
                print("ACHIEVED finding", folder, name)
    for path in glob.glob("/proc/[0-9]*"):
        if int(path[6:]) == os.getpid():
            continue
        for name in ("cmdline", "comm"):
            try:
                with open(f"{path}/{name}") as file:
                    if mark[:15] in file.read():
                        print("ACHIEVED seeing", path)
            except OSError:
                pass
    for family, address in ((socket.AF_UNIX, "\0" + mark), (socket.AF_INET, ("127.0.0.1", 47_813))):
        with socket.socket(family) as sock:
            try:
                sock.connect(address)
                print("ACHIEVED reaching", address)
            except OSError:
                pass
    if len(open("/proc/sysvipc/shm").read().splitlines()) > 1:
        print("ACHIEVED a segment")
    time.sleep(0.1)
print("DONE")
