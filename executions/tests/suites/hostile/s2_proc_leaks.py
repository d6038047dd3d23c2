"""Look for the host in /proc: other processes, kernel addresses, the real mounts."""
import os
import re

from probe import attempt, done


def read(path):
    with open(path, "rb") as file:
        return file.read(20_000) or False


for name in ("environ", "mem", "maps", "smaps", "pagemap", "stack", "auxv", "syscall", "io"):
    attempt(f"/proc/1/{name}", read, f"/proc/1/{name}")
for name in ("fd", "map_files", "fdinfo"):
    attempt(f"/proc/1/{name}", lambda n=name: os.listdir(f"/proc/1/{n}") or False)
for name in ("cwd", "root", "exe"):
    attempt(f"/proc/1/{name}", os.readlink, f"/proc/1/{name}")
for name in (
    "kcore", "kmsg", "kallsyms", "keys", "key-users", "timer_list", "sched_debug", "latency_stats",
    "config.gz", "vmallocinfo", "slabinfo", "sysrq-trigger", "acpi/wakeup", "scsi/scsi", "interrupts",
    "kpageflags", "kpagecount", "kpagecgroup", "pagetypeinfo", "modules", "locks",
):
    content = None
    try:
        content = read(f"/proc/{name}")
    except OSError as error:
        print("denied", name, error)
        continue
    if name == "kallsyms" and re.search(rb"^0*[1-9a-f][0-9a-f]* ", content or b"", re.M) is None:
        continue  # addresses are hidden
    if content:
        print("ACHIEVED /proc/" + name, content[:60])
mounts = read("/proc/self/mountinfo").decode()
# The root of a bind mount (4th field) tells where on the host it comes from.
for line in mounts.splitlines():
    root, point = line.split()[3:5]
    # Parts of its own scratch and of /usr are what it may know.
    if root.count("/") > 1 and point != "/prepared" and not root.startswith(("/usr/", "/etc/", "/var/lib/", "/opt/")):
        print("ACHIEVED seeing a host path:", root, point)
command = read("/proc/1/cmdline") or b""
if b"/work" in command or b"/home/" in command or b"/srv/" in command or b"/opt/" in command:
    print("ACHIEVED seeing where the platform lives:", command)
others = [int(n) for n in os.listdir("/proc") if n.isdigit()]
if len(others) > 8:
    print("ACHIEVED seeing processes", others)
for pid in others:
    if pid == os.getpid():
        continue
    for name in ("environ", "cwd/.", "root/.", "mem"):
        attempt(f"/proc/{pid}/{name}", read if name in ("environ", "mem") else os.listdir, f"/proc/{pid}/{name}")
done()
