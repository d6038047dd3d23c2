"""Change clocks, priorities and limits; then spin: the limit must still come."""
import ctypes
import os
import resource
import struct
import sys
import time

from probe import attempt, libc, number, syscall

timespec = ctypes.create_string_buffer(struct.pack("2q", 1_000_000_000, 0))
attempt("clock_settime", syscall, number(227, 112), 0, timespec)
attempt("settimeofday", syscall, number(164, 170), timespec, 0)
attempt("adjtimex", syscall, number(159, 171), ctypes.create_string_buffer(struct.pack("I", 1).ljust(256, b"\0")))
attempt("clock_adjtime", syscall, number(305, 266), 0, ctypes.create_string_buffer(struct.pack("I", 1).ljust(256, b"\0")))
attempt("timer on an alarm clock", syscall, number(222, 107), 8, 0, ctypes.create_string_buffer(8))
for policy, name in ((1, "FIFO"), (2, "RR"), (6, "DEADLINE"), (0x40000001, "FIFO reset")):
    attempt(f"scheduler {name}", syscall, number(144, 119), 0, policy, ctypes.create_string_buffer(struct.pack("i", 1)))
attr = struct.pack("IIQiIQQQ", 48, 6, 0, 0, 0, 10_000_000, 30_000_000, 30_000_000)
attempt("deadline", syscall, number(314, 274), 0, ctypes.create_string_buffer(attr), 0)
attempt("nice -5", os.nice, -5)
attempt("setpriority -20", os.setpriority, os.PRIO_PROCESS, 0, -20)
attempt("real-time io", syscall, number(251, 30), 1, 0, 1 << 13)
for value in ("-1000", "-1"):
    def lower(text=value):
        before = int(open("/proc/self/oom_score_adj").read())
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(text)
        return int(open("/proc/self/oom_score_adj").read()) < before
    attempt(f"oom_score_adj {value}", lower)
for name in ("CPU", "FSIZE", "NOFILE", "NPROC", "MEMLOCK", "STACK", "NICE", "RTPRIO", "RTTIME"):
    kind = getattr(resource, f"RLIMIT_{name}", None)
    if kind is None:
        continue
    soft, hard = resource.getrlimit(kind)
    if hard == resource.RLIM_INFINITY:
        print("no limit", name)
        continue
    attempt(f"raising {name} from {hard}", resource.setrlimit, kind, (hard + 1, hard + 1))
    attempt(f"unlimited {name}", resource.setrlimit, kind, (resource.RLIM_INFINITY,) * 2)
    try:
        resource.setrlimit(kind, (hard, hard))
    except (OSError, ValueError):
        pass
year = time.gmtime().tm_year
print("year is sane:", 2024 < year < 2100)
print("DONE", flush=True)
while True:
    pass
