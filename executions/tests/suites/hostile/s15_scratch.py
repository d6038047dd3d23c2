"""Files in scratch are memory of the tree: beyond the limit it is memory_limit."""
block = b"x" * (1 << 20)
print("begin", flush=True)
for place in (".", "/tmp", "/dev/shm"):
    for index in range(12):
        with open(f"{place}/file{index}", "wb") as file:
            for _ in range(16):
                file.write(block)
print("ACHIEVED 500 MiB of files")
