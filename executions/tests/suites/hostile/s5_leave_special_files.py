"""Leave FIFOs, sockets, odd names, unreadable folders; devices must be refused."""
import os
import socket
import stat

from probe import attempt, done

os.mkfifo("fifo")
held = os.open("fifo", os.O_RDWR | os.O_NONBLOCK)
with socket.socket(socket.AF_UNIX) as sock:
    sock.bind("socket")
for major, minor in ((1, 1), (8, 0), (253, 0), (1, 11), (10, 200)):
    attempt("block device", os.mknod, f"b{major}-{minor}", 0o666 | stat.S_IFBLK, os.makedev(major, minor))
    attempt("character device", os.mknod, f"c{major}-{minor}", 0o666 | stat.S_IFCHR, os.makedev(major, minor))
for name in (b"\xff\xfe", b"new\nline", b" ", b"-rf", b"$(touch pwned)", b"`x`", b"'\"", b"a" * 255, "ü".encode(), b"\x1b[31m"):
    with open(name, "wb") as file:
        file.write(b"x")
    os.mkdir(b"d" + name[:200])
for name in ("closed", "closed/inner"):
    os.mkdir(name)
open("closed/inner/file", "w").close()
os.chmod("closed/inner", 0)
os.chmod("closed", 0)
done()
