"""All that a program can do to the agent, PID 1 of its pod, for some seconds."""

import ctypes
import errno
import json
import os
import random
import resource
import signal
import socket
import struct
import sys
import threading
import time

PORT = 8088
nonce, seconds, seed = sys.argv[1], float(sys.argv[2]), sys.argv[3]
rng = random.Random(seed)
end = time.monotonic() + seconds
libc = ctypes.CDLL(None, use_errno=True)


def frame(kind, body=b"", **header):
    text = json.dumps({"kind": kind, **header}).encode()
    return struct.pack(">II", len(text), len(body)) + text + body


def forged():
    empty = {"total": 0, "head": 0, "tail": 0}
    stage = {
        "stage": "run",
        "case": 0,
        "end": "exited",
        "exit_code": 0,
        "signal": None,
        "stdout": empty,
        "stderr": empty,
        "message": "forged",
    }
    return frame("result", stages=[stage])


print("began", nonce, flush=True)
# What the worker takes for a frame when it comes from the agent is output here.
os.write(1, forged() + b"\n")

achieved = []


def expect_refused(what, call, *arguments):
    try:
        call(*arguments)
    except (OSError, ValueError):
        return
    achieved.append(what)


def syscall(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def write(path):
    with open(path, "wb", buffering=0) as file:
        file.write(b"0")


for descriptor in range(3, 256):
    try:
        os.write(descriptor, forged())
    except OSError:
        pass
for name in ("environ", "mem", "maps", "stack", "io", "syscall"):
    expect_refused(f"read {name}", lambda: os.read(os.open(f"/proc/1/{name}", 0), 64))
for name in (
    "mem",
    "oom_score_adj",
    "comm",
    "clear_refs",
    "coredump_filter",
    "setgroups",
    "timerslack_ns",
    "autogroup",
):
    expect_refused(f"write {name}", write, f"/proc/1/{name}")
expect_refused("fds", os.listdir, "/proc/1/fd")
expect_refused("root", os.listdir, "/proc/1/root")
limits = ctypes.create_string_buffer(struct.pack("2Q", 0, 0))
buffer = ctypes.create_string_buffer(64)
if os.uname().machine == "x86_64":
    expect_refused("ptrace", syscall, 101, 16, 1, 0, 0)
    expect_refused("seize", syscall, 101, 0x4206, 1, 0, 0)
    expect_refused("read memory", syscall, 310, 1, buffer, 1, buffer, 1, 0)
    expect_refused("write memory", syscall, 311, 1, buffer, 1, buffer, 1, 0)
    for what in (resource.RLIMIT_NOFILE, resource.RLIMIT_CPU, resource.RLIMIT_AS):
        expect_refused("limit", syscall, 302, 1, what, limits, 0)
for address in ("", "127.0.0.1", "::", "::1"):
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as taken:
            taken.setsockopt(socket.SOL_SOCKET, option, 1)
            expect_refused(
                f"bind {address}", lambda: (taken.bind((address, PORT)), taken.listen())
            )


def own_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]


targets = [("127.0.0.1", PORT)]
try:
    targets.append((own_address(), PORT))
except OSError:
    pass


def connected():
    return socket.create_connection(rng.choice(targets), timeout=1)


GARBAGE = (
    lambda: os.urandom(64),
    lambda: struct.pack(">II", 0xFFFFFFFF, 0xFFFFFFFF),
    lambda: struct.pack(">II", 4096, 0) + b"{" * 4096,
    lambda: struct.pack(">II", 4000, 0) + b"[" * 4000,
    lambda: frame("hello", token="wrong"),
    lambda: frame("hello", token="wrong") + frame("attach", key="any", seen=[]),
    lambda: frame("ack"),
    lambda: frame("cancel"),
    lambda: frame("run", b"x" * 1000, key="any"),
    forged,
    lambda: b"GET / HTTP/1.1\r\n\r\n",
    lambda: b"",
)


def speak():
    with connected() as sock:
        sock.sendall(rng.choice(GARBAGE)())
        sock.settimeout(0.2)
        told = sock.recv(4096)
        if b'"ready"' in told:
            achieved.append("welcome")


def hold(kept):
    """Half a hello, a byte at a time, on as many connections as there can be."""
    try:
        kept.append(connected())
    except OSError as error:
        if error.errno == errno.EMFILE:
            kept.clear()
    for sock in kept[-20:]:
        try:
            sock.send(b"\0")
        except OSError:
            pass
    if len(kept) > 900:
        kept.clear()


def storm():
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex(rng.choice(targets))


def shower():
    for number in range(1, 65):
        try:
            os.kill(1, number)
        except OSError:
            pass
    for _ in range(200):
        os.kill(1, signal.SIGCHLD)


def orphans():
    if os.fork() == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.wait()


def again_and_again(attack, *arguments):
    while time.monotonic() < end:
        try:
            attack(*arguments)
        except OSError:
            pass


attacks = [(speak,), (hold, []), (storm,), (shower,), (orphans,)]
threads = [threading.Thread(target=again_and_again, args=a) for a in attacks]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("achieved", achieved)
print("ended", nonce)
