"""Signal, stop, trace, renice, limit and read the agent and the host's processes."""
import ctypes
import os
import resource
import signal
import struct
import sys

from probe import attempt, done, libc, number, syscall

host_pid = int(sys.argv[1])


def write(path):
    with open(path, "wb", buffering=0) as file:
        file.write(b"1")


victims = [1, host_pid, os.getppid() or 1]
buffer = ctypes.create_string_buffer(4096)
lowest = ctypes.create_string_buffer(struct.pack("2Q", 0, 0))
for pid in victims:
    if pid != 1:
        attempt(f"signal 0 to {pid}", os.kill, pid, 0) if pid == host_pid else None
    for mode, what in ((16, "attach"), (0x4206, "seize")):
        attempt(f"ptrace {what} {pid}", syscall, number(101, 117), mode, pid, 0, 0)
    attempt(f"process_vm_readv {pid}", syscall, number(310, 270), pid, buffer, 1, buffer, 1, 0)
    attempt(f"prlimit set {pid}", syscall, number(302, 261), pid, resource.RLIMIT_NOFILE, lowest, 0)
    attempt(f"prlimit cpu {pid}", syscall, number(302, 261), pid, resource.RLIMIT_CPU, lowest, 0)
    attempt(f"setpriority {pid}", syscall, number(141, 140), 0, pid, 19)
    attempt(f"sched_setscheduler {pid}", syscall, number(144, 119), pid, 5, ctypes.create_string_buffer(8))
    attempt(f"sched_setparam {pid}", syscall, number(142, 118), pid, ctypes.create_string_buffer(8))
    attempt(f"sched_setattr {pid}", syscall, number(314, 274), pid, ctypes.create_string_buffer(struct.pack("IIQiIQQQ", 48, 5, 0, 0, 0, 0, 0, 0)), 0)
    attempt(f"sched_setaffinity {pid}", syscall, number(203, 122), pid, 8, ctypes.create_string_buffer(struct.pack("Q", 1)))
    attempt(f"ioprio_set {pid}", syscall, number(251, 30), 1, pid, (3 << 13))
    attempt(f"setpgid {pid}", os.setpgid, pid, pid)
    attempt(f"get_robust_list {pid}", syscall, number(274, 100), pid, buffer, buffer)
    attempt(f"migrate_pages {pid}", syscall, number(256, 238), pid, 64, buffer, buffer)
    for path in ("mem", "maps", "environ", "fd", "fdinfo", "stack", "io"):
        attempt(f"/proc/{pid}/{path}", os.open, f"/proc/{pid}/{path}", os.O_RDONLY)
    for path in ("oom_score_adj", "comm", "clear_refs", "timerslack_ns", "coredump_filter", "autogroup", "attr/current"):
        attempt(f"write /proc/{pid}/{path}", write, f"/proc/{pid}/{path}")
    # A descriptor of /proc/<pid> serves as a pidfd, also where pidfd_open is refused.
    try:
        handle = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        print("denied", error)
        continue
    for sign in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGCHLD, signal.SIGRTMAX):
        try:
            syscall(424, handle, sign, 0, 0)
        except OSError as error:
            print("denied", error)
attempt("setpriority of the user", syscall, number(141, 140), 2, os.getuid(), 19)
attempt("setpriority of group 1", syscall, number(141, 140), 1, 1, 19)
attempt("ioprio of the user", syscall, number(251, 30), 3, os.getuid(), (3 << 13))
pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
if host_pid in pids or len(pids) > 8:
    print("ACHIEVED seeing", pids)
done()
