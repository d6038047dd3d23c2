"""Open every system file for writing (without writing), directly and as a temporary."""
import os

count = 0
for top in ("/etc", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/local", "/opt", "/lib", "/bin", "/boot"):
    for folder, names, files in os.walk(top):
        if folder.count("/") > 4:
            names[:] = []
        for name in files[:200]:
            count += 1
            # What is switched off in /etc and /lib is a link to the own /dev/null.
            if os.path.realpath(os.path.join(folder, name)).startswith("/dev/"):
                continue
            try:
                os.close(os.open(os.path.join(folder, name), os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                continue
            print("ACHIEVED opening for writing", os.path.join(folder, name))
        try:
            os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY))
        except OSError:
            continue
        print("ACHIEVED a temporary file in", folder)
print("tried many:", count > 500)
print("DONE")
