"""Run a 32-bit program, written byte by byte: it may not get as far as its first write."""
import os
import struct
import subprocess

base = 0x08048000
text = b"ACHIEVED running 32-bit code\n"
code = (
    b"\xb8\x04\x00\x00\x00"  # mov eax, 4 (write)
    + b"\xbb\x01\x00\x00\x00"  # mov ebx, 1
    + b"\xb9" + struct.pack("<I", base + 84 + 34)  # mov ecx, text
    + b"\xba" + struct.pack("<I", len(text))  # mov edx, length
    + b"\xcd\x80"  # int 0x80
    + b"\xb8\x01\x00\x00\x00\x31\xdb\xcd\x80"  # exit(0)
)
code = code.ljust(34, b"\x90")
size = 84 + len(code) + len(text)
header = b"\x7fELF\x01\x01\x01".ljust(16, b"\0") + struct.pack(
    "<HHIIIIIHHHHHH", 2, 3, 1, base + 84, 52, 0, 0, 52, 32, 1, 0, 0, 0
)
segment = struct.pack("<8I", 1, 0, base, base, size, size, 5, 4096)
with open("old", "wb") as file:
    file.write(header + segment + code + text)
os.chmod("old", 0o755)
try:
    print("ended", subprocess.run(["./old"], timeout=5).returncode)
except OSError as error:
    print("denied", error)
print("DONE")
