"""Read marker files and the usual hiding places of credentials by their known names."""
import glob
import os
import sys

from probe import attempt, done


def read(path):
    with open(path, "rb") as file:
        return file.read(200) or False


parents = sys.argv[1].split(":")
for root in ("", "/proc/1/root", "/proc/self/root", "/proc/1/cwd/../.."):
    for parent in parents:
        for name in ("bait.h", ".env", "private"):
            attempt(f"reading {root}{parent}", read, f"{root}{parent}/{name}")
        attempt(f"listing {parent}", lambda p=parent: os.listdir(p) or False)
for path in (
    "/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/root/.bashrc", "/root/.profile",
    "/root/.ssh/id_rsa", "/root/.ssh/authorized_keys", "/etc/ssh/ssh_host_rsa_key",
    "/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock",
    "/var/run/secrets/kubernetes.io/serviceaccount/token", "/etc/kubernetes/admin.conf",
    "/root/.kube/config", "/etc/machine-id", "/var/log/syslog", "/var/log/dpkg.log",
    "/var/lib/postgresql", "/etc/postgresql", "/etc/redis/redis.conf", "/etc/fstab",
    "/swapfile", "/vmlinuz", "/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda",
    "/proc/kcore", "/proc/kmsg", "/proc/1/environ", "/proc/1/mem", "/proc/1/maps",
    "/sys/kernel/notes", "/sys/kernel/vmcoreinfo", "/sys/class/dmi/id/product_uuid",
    "/sys/firmware/dmi/tables/DMI", "/sys/kernel/debug/gpio", "/sys/kernel/btf/vmlinux",
):
    attempt(f"reading {path}", read, path)
for pattern in ("/root/*", "/home/*", "/srv/*", "/var/lib/dpkg/*", "/run/user/*", "/etc/ssh/*", "/etc/ssl/private/*"):
    attempt(f"listing {pattern}", lambda p=pattern: [f for f in glob.glob(p) if f != os.environ["HOME"]] or False)
done()
