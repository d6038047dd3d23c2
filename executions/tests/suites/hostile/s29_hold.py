"""Be found: hold a marker in files, name, arguments, memory and sockets for a while."""
import ctypes
import os
import socket
import sys
import time

mark = "peer-" + sys.argv[1]
ctypes.CDLL(None).prctl(15, mark[:15].encode(), 0, 0, 0)
for folder in (os.getcwd(), "/tmp", "/var/tmp", "/dev/shm"):
    with open(os.path.join(folder, mark), "w") as file:
        file.write(mark)
sock = socket.socket(socket.AF_UNIX)
sock.bind("\0" + mark)
sock.listen()
server = socket.socket()
server.bind(("127.0.0.1", 47_813))
server.listen()
libc = ctypes.CDLL(None)
libc.shmget(int(sys.argv[1][:7], 16), 4096, 0o1666)
if os.fork() == 0:
    os.execv("/usr/bin/sleep", [mark, "3"])
time.sleep(3)
print("DONE")
