"""Become somebody else: set ids, setuid files, file capabilities, helpers, ambient sets."""
import ctypes
import glob
import os
import shutil
import stat
import subprocess

from probe import attempt, done, libc, number, syscall

for uid in (0, 1, 1000, 65533):
    if uid == os.getuid():
        continue
    attempt(f"setuid {uid}", os.setuid, uid)
    attempt(f"setresuid {uid}", os.setresuid, uid, uid, uid)
    attempt(f"setgid {uid}", os.setgid, uid)
    attempt(f"setgroups {uid}", os.setgroups, [uid])
    attempt(f"chown {uid}", os.chown, ".", uid, uid)
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
everything = (ctypes.c_uint32 * 6)(*([0xFFFFFFFF] * 6))
attempt("capset", syscall, number(126, 91), header, everything)
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_SET_SECUREBITS, PR_SET_KEEPCAPS = 38, 47, 28, 8
for name, args in {
    "clear no_new_privs": (PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0),
    "ambient capability": (PR_CAP_AMBIENT, 2, 21, 0, 0),
    "securebits": (PR_SET_SECUREBITS, 0, 0, 0, 0),
    "seccomp off": (22, 0, 0, 0, 0),
}.items():
    attempt(name, syscall, number(157, 167), *args)
shutil.copy("/bin/sh", "suid")
os.chmod("suid", 0o6755)
for helper in (["./suid", "-p", "-c", "id -u"], ["sudo", "-n", "id", "-u"], ["su", "-c", "id -u"], ["pkexec", "id", "-u"], ["newgrp", "root"]):
    ran = subprocess.run(helper, capture_output=True, text=True, stdin=subprocess.DEVNULL)if shutil.which(helper[0]) else None
    if ran and ran.stdout.strip() == "0":
        print("ACHIEVED root by", helper)
try:
    os.setxattr("suid", "security.capability", bytes.fromhex("0100000200002000000000000000000000000000"))
    print("ACHIEVED a file capability")
except OSError as error:
    print("denied file capability", error.strerror)
# Every setuid program that the jail shows: it may exist, but must not raise anything.
for pattern in ("/bin/*", "/usr/bin/*", "/usr/sbin/*", "/usr/lib/*/*", "/usr/lib/*"):
    for path in glob.glob(pattern):
        try:
            if os.stat(path).st_mode & (stat.S_ISUID | stat.S_ISGID) and os.statvfs(path).f_flag & os.ST_NOSUID == 0:
                print("ACHIEVED seeing a setuid file that works:", path)
        except OSError:
            continue
print("still", os.getresuid() == (os.getuid(),) * 3 and os.getuid() != 0)
done()
