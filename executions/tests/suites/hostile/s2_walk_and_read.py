"""Walk the whole tree and print every secret that any readable file or name holds."""
import os
import re

SECRET = re.compile(b"SUITEMA" + b"RK-[a-z0-9-]+")
SKIP = {"/usr", "/lib", "/lib64", "/bin", "/sbin", "/proc"}
read = 0
for folder, names, files in os.walk("/"):
    if folder == "/":
        names[:] = [n for n in names if "/" + n not in SKIP]
    for name in [*names, *files]:
        if "suite-" + "bait" in name:
            print("ACHIEVED seeing", folder, name)
    for name in files:
        path = os.path.join(folder, name)
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                content = file.read(20_000) or b""
        except OSError:
            continue
        read += 1
        for found in SECRET.findall(content):
            print("ACHIEVED reading", path, found)
print("read some:", read > 3)
print("DONE")
