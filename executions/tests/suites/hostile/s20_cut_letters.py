"""Two-byte letters, so that a cut at an odd place falls inside one."""
import os

os.write(1, "é".encode() * 3000)
