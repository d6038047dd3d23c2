"""Read, change, rename, link and delete the marker files, by every way to name them."""
import os
import sys

from probe import attempt, done

nonce = sys.argv[1]
roots = ["", "/proc/1/root", "/proc/self/root", "/..", "/proc/1/cwd/../../../.."]
for parent in sys.argv[2].split(":"):
    for root in roots:
        path = f"{root}{parent}/bait.h"
        attempt(f"writing {path}", lambda p=path: os.close(os.open(p, os.O_WRONLY | os.O_APPEND)))
        attempt(f"chmod {path}", os.chmod, path, 0o600)
        attempt(f"utime {path}", os.utime, path)
        attempt(f"link {path}", os.link, path, f"{root}{parent}/link")
        attempt(f"rename {path}", os.rename, path, path + ".gone")
        attempt(f"unlink {path}", os.unlink, path)
        attempt(f"rmdir {path}", os.rmdir, f"{root}{parent}")
done()
