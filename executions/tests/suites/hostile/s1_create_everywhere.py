"""Create a file in every folder of the tree; only the private places may take one."""
import os
import sys
import tempfile

nonce = sys.argv[1]
home = os.environ.get("HOME", "/")
PRIVATE = {os.path.realpath(p) for p in (os.getcwd(), "/tmp", "/var/tmp", "/dev/shm", home)}
tried = 0
for folder, names, _ in os.walk("/"):
    if folder == "/":
        names[:] = [n for n in names if n not in ("proc", "sys")]
    if os.path.realpath(folder) in PRIVATE or any(folder.startswith(p + "/") for p in PRIVATE):
        # Private: must be this run's own and empty of others' things; see S28.
        continue
    tried += 1
    path = os.path.join(folder, f"suite-{nonce}")
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except OSError:
        continue
    print("ACHIEVED creating", path)
    os.unlink(path)
for folder in PRIVATE:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f"suite-{nonce}-", delete=False):
            print("private", folder)
    except OSError as error:
        print("no file in", folder, error)
print("tried", tried > 20)
print("DONE")
