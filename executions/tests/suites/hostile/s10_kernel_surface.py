"""Kernel surface that namespaces do not cover; each call by its number."""
import ctypes
import os
import socket
import struct

from probe import X86, attempt, done, number, syscall

text = ctypes.create_string_buffer(b"user")
name = ctypes.create_string_buffer(b"suite")
buffer = ctypes.create_string_buffer(4096)
attempt("add_key", syscall, number(248, 217), text, name, name, 5, -3)
attempt("request_key", syscall, number(249, 218), text, name, 0, -3)
for operation in (0, 1, 6, 11, 16):
    attempt(f"keyctl {operation}", syscall, number(250, 219), operation, -3, 0, 0)
attempt("io_uring_setup", syscall, 425, 4, buffer)
attempt("io_uring_enter", syscall, 426, -1, 0, 0, 0, 0)
attempt("io_uring_register", syscall, 427, -1, 0, buffer, 0)
attempt("userfaultfd", syscall, number(323, 282), 0)
attempt("userfaultfd user mode", syscall, number(323, 282), 1)
event = ctypes.create_string_buffer(struct.pack("IIQ", 1, 128, 0).ljust(128, b"\0"))
for pid, cpu in ((0, -1), (-1, 0), (1, -1)):
    attempt(f"perf_event_open {pid}", syscall, number(298, 241), event, pid, cpu, -1, 0)
for family in range(46):
    if family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
        continue
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        for protocol in (0, 4, 9, 15):
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError:
                continue
            print("ACHIEVED a socket of family", family, kind, protocol)
            sock.close()
for family, kind, protocol in (
    (socket.AF_INET, socket.SOCK_RAW, 1), (socket.AF_INET6, socket.SOCK_RAW, 58), (socket.AF_INET, socket.SOCK_RAW, 255),
    (socket.AF_INET, socket.SOCK_STREAM, 132), (socket.AF_INET, socket.SOCK_STREAM, 262), (socket.AF_INET, socket.SOCK_DGRAM, 1),
    (socket.AF_INET, socket.SOCK_DGRAM, 136), (socket.AF_INET, socket.SOCK_DCCP if hasattr(socket, "SOCK_DCCP") else 6, 33),
):
    attempt(f"socket {family} {kind} {protocol}", lambda f=family, k=kind, p=protocol: socket.socket(f, k, p) and True)
attempt("socketpair vsock", lambda: socket.socketpair(40, socket.SOCK_STREAM, 0))
attempt("process_vm_readv", syscall, number(310, 270), 1, buffer, 1, buffer, 1, 0)
attempt("process_vm_writev", syscall, number(311, 271), 1, buffer, 1, buffer, 1, 0)
attempt("pidfd_getfd", lambda: syscall(438, os.pidfd_open(1), 0, 0))
attempt("process_madvise", lambda: syscall(440, os.pidfd_open(1), buffer, 1, 4, 0))
attempt("process_mrelease", lambda: syscall(448, os.pidfd_open(1), 0))
attempt("move_pages of 1", syscall, number(279, 239), 1, 0, 0, 0, 0, 0)
attempt("migrate_pages of 1", syscall, number(256, 238), 1, 64, buffer, buffer)
attempt("memfd_secret", syscall, 447, 0)
attempt("seccomp listener", syscall, number(317, 277), 1, 8, buffer)
attempt("personality 32 bit", syscall, number(135, 92), 0x0008)
for beyond in (480, 500, 511, 600, 1000, 4000):
    attempt(f"call {beyond}", syscall, beyond, 0, 0, 0)
if X86:
    attempt("x32 getpid", syscall, 0x40000000 | 39)
    attempt("x32 execve", syscall, 0x40000000 | 520, 0, 0, 0)
done()
