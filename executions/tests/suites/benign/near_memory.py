"""Use 200 of 256 MiB; this is allowed."""
block = bytearray(200 << 20)
for at in range(0, len(block), 4096):
    block[at] = 1
print(len(block) >> 20)
