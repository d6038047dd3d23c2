"""Huge pages that the host set aside are counted as nobody's memory: none may be taken.

The arguments are wrong besides, so that it shows whether the kernel got to see them.
"""
import ctypes
import errno
import mmap

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
MAP_HUGETLB, MFD_HUGETLB, SHM_HUGETLB, IPC_CREAT = 0x40000, 4, 0o4000, 0o1000
flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_HUGETLB
for name, call in {
    "mmap": lambda: libc.mmap(None, 0, 3, flags, -1, 0),
    "mmap 1 GiB": lambda: libc.mmap(None, 0, 3, flags | 30 << 26, -1, 0),
    "memfd_create": lambda: libc.memfd_create(None, MFD_HUGETLB),
    "shmget": lambda: libc.shmget(0, 0, SHM_HUGETLB | IPC_CREAT | 0o600),
}.items():
    call()
    reached = ctypes.get_errno() != errno.ENOMEM
    print("ACHIEVED" if reached else "denied", name, errno.errorcode[ctypes.get_errno()])
print("DONE")
