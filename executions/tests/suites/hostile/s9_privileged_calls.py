"""Kernel calls that no program needs: bpf, modules, handles, kexec, quotas, ports."""
import ctypes
import struct

from probe import X86, attempt, done, number, syscall

buffer = ctypes.create_string_buffer(256)
path = ctypes.create_string_buffer(b"/")
calls = {
    "bpf map": (number(321, 280), 0, ctypes.create_string_buffer(struct.pack("4I", 2, 4, 4, 1).ljust(128, b"\0")), 128),
    "bpf program list": (number(321, 280), 11, buffer, 128),
    "init_module": (number(175, 105), buffer, 16, path),
    "finit_module": (number(313, 273), 0, path, 0),
    "delete_module": (number(176, 106), path, 0),
    "kexec_load": (number(246, 104), 0, 0, 0, 0),
    "kexec_file_load": (number(320, 294), 0, 0, 1, path, 0),
    "reboot": (number(169, 142), 0xFEE1DEAD, 672274793, 0, 0),
    "swapon": (number(167, 224), path, 0),
    "swapoff": (number(168, 225), path),
    "acct": (number(163, 89), path),
    "quotactl": (number(179, 60), 0x800007, path, 0, buffer),
    "quotactl_fd": (443, 0, 0x800007, 0, buffer),
    "syslog read": (number(103, 116), 3, buffer, 255),
    "syslog size": (number(103, 116), 10, 0, 0),
    "vhangup": (number(153, 58),),
    "settimeofday": (number(164, 170), buffer, 0),
    "lookup_dcookie": (number(212, 18), 1, buffer, 255),
    "fanotify_init": (number(300, 262), 0, 0),
    "name_to_handle_at": (number(303, 264), -100, path, ctypes.create_string_buffer(struct.pack("Ii", 128, 0).ljust(160, b"\0")), ctypes.create_string_buffer(8), 0),
    "kcmp": (number(312, 272), 1, 1, 0, 0, 0),
    "landlock on another": (446, -1, 0),
}
if X86:
    calls |= {
        "iopl": (172, 3),
        "ioperm": (173, 0x70, 2, 1),
        "modify_ldt": (154, 1, ctypes.create_string_buffer(struct.pack("4I", 0, 0, 0xFFFFF, 0x51)), 16),
        "ustat": (136, 0, buffer),
        "sysfs": (139, 3),
        "uselib": (134, path),
        "_sysctl": (156, buffer),
        "nfsservctl": (180, 0, 0, 0),
        "create_module": (174, path, 10),
    }
for name, args in calls.items():
    attempt(name, syscall, *args)
# The Shocker attack: open inode 2 of whatever is mounted, by handle.
handle = ctypes.create_string_buffer(struct.pack("IiQ", 8, 1, 2))
import os  # noqa: E402
for place in ("/", "/usr", "/etc", "/tmp", "/proc/self/exe"):
    try:
        fd = os.open(place, os.O_RDONLY)
    except OSError:
        continue
    attempt(f"open_by_handle_at {place}", syscall, number(304, 265), fd, handle, 0)
done()
