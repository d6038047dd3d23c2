"""Kernel memory: full pipes and socket buffers, as many as there are descriptors."""
import fcntl
import os
import socket

kept = []
pipes = 0
try:
    while len(kept) < 100_000:
        reader, writer = os.pipe()
        kept += [reader, writer]
        try:
            fcntl.fcntl(writer, 1031, 1 << 20)
        except OSError:
            pass
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, bytes(65536))
        except BlockingIOError:
            pipes += 1
except OSError as error:
    print("stopped by", error.strerror)
print("pipes", pipes)
for fd in kept[100:]:
    os.close(fd)
ends = []
try:
    while len(ends) < 100_000:
        pair = socket.socketpair()
        ends += pair
        for end in pair:
            end.setblocking(False)
            try:
                while True:
                    end.send(bytes(65536))
            except BlockingIOError:
                pass
except OSError as error:
    print("stopped by", error.strerror)
print("ACHIEVED" if len(ends) > 2048 or pipes > 2048 else "denied", len(ends))
print("DONE", flush=True)
os._exit(0)
