"""Look for the agent's socket and speak to it, as a worker would, to forge a result."""
import os
import socket
import struct

found = set()
for line in open("/proc/net/unix").read().splitlines()[1:]:
    fields = line.split()
    if len(fields) > 7:
        found.add(fields[7])
for folder, names, files in os.walk("/"):
    if folder == "/":
        names[:] = [n for n in names if n not in ("proc", "usr", "lib", "lib64")]
    for name in files:
        path = os.path.join(folder, name)
        try:
            if os.stat(path).st_mode & 0o170000 == 0o140000:
                found.add(path)
        except OSError:
            pass
for path in sorted(found):
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as sock:
            try:
                sock.connect(path.replace("@", "\0", 1))
                body = b'{"type":"ack"}'
                sock.send(struct.pack(">I", len(body)) + body)
                print("ACHIEVED reaching", path)
            except OSError as error:
                print("denied", path, error)
for port in [*range(1, 1024), *range(8000, 8100)]:
    with socket.socket() as sock:
        if sock.connect_ex(("127.0.0.1", port)) == 0:
            print("ACHIEVED reaching port", port)
print("DONE")
