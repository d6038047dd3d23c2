"""A small stream that inflates to gigabytes."""
import zlib

packer = zlib.compressobj(9, zlib.DEFLATED, -15)
mebibyte = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
bomb = mebibyte * 4000 + packer.flush()
print("begin", flush=True)
print("ACHIEVED", len(zlib.decompress(bomb, -15)))
