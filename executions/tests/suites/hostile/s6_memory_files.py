"""Files without a name: memfd and unlinked ones; counted as memory or as scratch."""
import os

kept = []
block = bytes(1 << 20)
for index in range(64):
    fd = os.memfd_create(f"m{index}")
    for _ in range(16):
        os.write(fd, block)
    kept.append(fd)
print("ACHIEVED 1 GiB of memory files")
