"""Programs for the packet filter take memory that the host needs for its own."""
import ctypes
import socket
import struct

from probe import attempt, done, libc, number, syscall

code = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0xFFFF) * 64)
program = struct.pack("HxxxxxxQ", 64, ctypes.addressof(code))
SOL_SOCKET, SO_ATTACH_FILTER, SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_CBPF = 1, 26, 50, 51
for family, kind in (("unix", socket.AF_UNIX), ("inet", socket.AF_INET)):
    sock = socket.socket(kind, socket.SOCK_DGRAM)
    sock.setsockopt(SOL_SOCKET, socket.SO_RCVBUF, 8192)
    attempt(f"filter on {family}", lambda s=sock: s.setsockopt(SOL_SOCKET, SO_ATTACH_FILTER, program) or True)
    if kind == socket.AF_INET:
        sock.setsockopt(SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        attempt("reuseport filter", lambda s=sock: s.setsockopt(SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program) or True)
filters = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7FFF0000))
seccomp = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 1, ctypes.addressof(filters)))
attempt("seccomp by prctl", syscall, number(157, 167), 22, 2, seccomp)
attempt("seccomp", syscall, number(317, 277), 1, 0, seccomp)
done()
