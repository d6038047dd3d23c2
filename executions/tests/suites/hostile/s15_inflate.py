"""A small stream that inflates to gigabytes."""
import zlib

packer = zlib.compressobj(9)
bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1500)) + packer.flush()
print("begin", flush=True)
print("ACHIEVED", len(zlib.decompress(bomb)))
