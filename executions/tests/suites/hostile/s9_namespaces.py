"""Call everything that makes or enters namespaces and mounts; each must be refused."""
import ctypes
import os
import struct

from probe import attempt, done, number, syscall

NEW = {
    "user": 0x10000000, "mount": 0x20000, "pid": 0x20000000, "net": 0x40000000,
    "ipc": 0x8000000, "uts": 0x4000000, "cgroup": 0x2000000, "time": 0x80,
}
SIGCHLD = 17


def clone(flags):
    pid = syscall(number(56, 220), flags | SIGCHLD)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def clone3(flags):
    args = ctypes.create_string_buffer(struct.pack("8Q", flags, 0, 0, 0, SIGCHLD, 0, 0, 0))
    pid = syscall(435, args, 64)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


for name, flag in NEW.items():
    attempt(f"unshare {name}", syscall, number(272, 97), flag)
    attempt(f"clone {name}", clone, flag)
    attempt(f"clone3 {name}", clone3, flag)
    attempt(f"unshare user+{name}", syscall, number(272, 97), flag | NEW["user"])
for pid in (1, os.getpid()):
    for name in ("mnt", "pid", "net", "ipc", "uts", "cgroup", "user", "time"):
        try:
            fd = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY)
        except OSError as error:
            print("denied", pid, name, error)
            continue
        attempt(f"setns {pid} {name}", syscall, number(308, 268), fd, 0)
    attempt("setns by pidfd", lambda p=pid: syscall(number(308, 268), os.pidfd_open(p), 0x20000))

here = ctypes.create_string_buffer(b".")
root = ctypes.create_string_buffer(b"/")
tmpfs = ctypes.create_string_buffer(b"tmpfs")
proc = ctypes.create_string_buffer(b"proc")
os.makedirs("m", exist_ok=True)
m = ctypes.create_string_buffer(b"m")
attempt("mount tmpfs", syscall, number(165, 40), tmpfs, m, tmpfs, 0, 0)
attempt("mount proc", syscall, number(165, 40), proc, m, proc, 0, 0)
attempt("bind mount", syscall, number(165, 40), root, m, tmpfs, 4096, 0)
attempt("remount", syscall, number(165, 40), root, root, tmpfs, 32, 0)
attempt("make shared", syscall, number(165, 40), root, root, tmpfs, 1 << 20, 0)
attempt("umount2", syscall, number(166, 39), ctypes.create_string_buffer(b"/proc"), 2)
attempt("umount2 /", syscall, number(166, 39), root, 2)
attempt("chroot", syscall, number(161, 51), here)
attempt("pivot_root", syscall, number(155, 41), here, here)
attempt("fsopen", syscall, 430, tmpfs, 0)
attempt("open_tree", syscall, 428, -100, root, 1)
attempt("fspick", syscall, 433, -100, root, 0)
attempt("move_mount", syscall, 429, -100, root, -100, m, 0)
attempt("fsmount", syscall, 432, 0, 0, 0)
attempt("fsconfig", syscall, 431, 0, 6, 0, 0, 0)
attempt("mount_setattr", syscall, 442, -100, root, 0, ctypes.create_string_buffer(struct.pack("4Q", 0, 1, 0, 0)), 32)
attempt("statmount", syscall, 457, ctypes.create_string_buffer(64), ctypes.create_string_buffer(512), 512, 0)
attempt("open_tree_attr", syscall, 467, -100, root, 1, 0, 0)
attempt("sethostname", syscall, number(170, 161), ctypes.create_string_buffer(b"pwned"), 5)
attempt("setdomainname", syscall, number(171, 162), ctypes.create_string_buffer(b"pwned"), 5)
done()
