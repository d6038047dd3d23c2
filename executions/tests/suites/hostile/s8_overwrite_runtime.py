"""Open what the next run will execute, and the kernel's switches, for writing."""
import glob
import os
import sys

from probe import attempt, done


def writable(path):
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    # Some switches of the kernel can be opened by everyone, and refuse what is written.
    if path.startswith("/proc/"):
        os.write(fd, b"1")
    os.close(fd)
    return path


targets = [
    "/proc/self/exe", "/proc/1/exe", sys.executable, os.path.realpath(sys.executable), os.__file__,
    "/bin/sh", "/usr/bin/env", "/lib64/ld-linux-x86-64.so.2", "/etc/ld.so.preload", "/etc/ld.so.cache",
    "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/domainname", "/proc/sys/vm/overcommit_memory", "/proc/sys/vm/drop_caches",
    "/proc/sys/kernel/ns_last_pid", "/proc/sys/kernel/pid_max", "/proc/sys/kernel/randomize_va_space",
    "/proc/sys/fs/binfmt_misc/register", "/proc/sys/kernel/sysrq", "/proc/sysrq-trigger",
    "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/ping_group_range", "/proc/sys/user/max_user_namespaces",
    "/proc/1/oom_score_adj", "/proc/1/oom_adj", "/proc/1/comm", "/proc/1/clear_refs", "/proc/1/timerslack_ns",
    "/proc/1/coredump_filter", "/proc/1/setgroups", "/proc/1/uid_map", "/proc/self/uid_map", "/proc/1/attr/current",
    "/proc/1/sched", "/proc/1/autogroup", "/proc/irq/default_smp_affinity", "/proc/mtrr", "/proc/acpi/wakeup",
    "/sys/kernel/uevent_helper", "/sys/power/state", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/release_agent",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/pids.max",
    "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/block", "/dev/mem", "/dev/kmem", "/dev/port", "/dev/kmsg",
    "/dev/sda", "/dev/vda", "/dev/loop-control", "/dev/fuse", "/dev/kvm", "/dev/net/tun", "/dev/vhost-vsock",
    "/dev/vsock", "/dev/uinput", "/dev/input/event0", "/dev/tty", "/dev/tty0", "/dev/console", "/dev/ptmx", "/dev/rtc0", "/dev/hwrng",
]
for path in targets:
    attempt(f"opening for writing {path}", writable, path)
for pattern in ("/sys/fs/cgroup/**/cgroup.procs", "/sys/fs/cgroup/**/notify_on_release"):
    for path in glob.glob(pattern, recursive=True)[:50]:
        attempt(path, writable, path)
devices = set(os.listdir("/dev"))
odd = devices - {"null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "stdout", "stderr", "shm", "core"}
if odd:
    print("ACHIEVED seeing devices", sorted(odd))
done()
